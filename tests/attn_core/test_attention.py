"""The layer: how it is built, and the order of a forward."""

from __future__ import annotations

import ast
import logging
from contextlib import nullcontext
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attn_core
from attn_core import Attention, eager
from tests.attn_core.calls import DTYPES, Call, D, G, H, S, bits, decode_call, prefill_call
from verification.backends.captured_events import INDEX_LOG, RANGE_LOG, captured_events

PREFILLS = ([], [0], [1], [3, 0, 2], [0, 0])
DECODES = ([], [0], [1], [5, 0, 9], [0, 0])


@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(6, 4), (4, 8), (7, 2)])
def test_kv_heads_must_divide_heads(num_heads: int, num_kv_heads: int) -> None:
    """A ValueError that names both numbers."""
    with pytest.raises(ValueError, match=rf"num_heads: {num_heads} .*num_kv_heads, {num_kv_heads}"):
        Attention(num_heads, D, num_kv_heads)


def test_no_check_is_an_assert() -> None:
    """An assert vanishes under python -O."""
    for path in Path(attn_core.__file__).parent.glob("*.py"):
        assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]


SIZES = ("num_heads", "head_dim", "num_kv_heads", "block_size", "max_heads")


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [4.0, True, "4", None, [4]], ids=repr)
def test_sizes_are_integers(name: str, size: Any) -> None:
    """4.0 is none, and True is none, though Python counts with it."""
    with pytest.raises(TypeError) as caught:
        Attention(**{"num_heads": H, "head_dim": D, "num_kv_heads": G, name: size})
    assert str(caught.value) == f"{name}: {size!r} (must be an integer)"


def test_sizes_may_be_integers_of_numpy() -> None:
    """A configuration may hold them."""
    assert Attention(np.int64(H), np.int32(D), G).num_rep == H // G


def test_check_values_is_true_or_false() -> None:
    """A text would be true, whatever it says."""
    with pytest.raises(TypeError, match=r"^check_values: 'no'"):
        Attention(H, D, G, check_values="no")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [0, -4])
def test_sizes_are_positive(name: str, size: int) -> None:
    """The error names the size that is not."""
    with pytest.raises(ValueError, match=rf"^{name}: {size} "):
        Attention(**{"num_heads": H, "head_dim": D, "num_kv_heads": G, "block_size": S, name: size})


@pytest.mark.parametrize("name", ["causal_alignment", "on_invalid", "implementation"])
def test_unknown_options_are_refused(name: str) -> None:
    """The error names the option and the value."""
    option: dict[str, Any] = {name: "sideways"}
    with pytest.raises(ValueError, match=f"^{name}: 'sideways'"):
        Attention(H, D, G, **option)


def test_defaults() -> None:
    """Those of the contract."""
    layer = Attention(H, D, G)
    assert (layer.block_size, layer.max_heads, layer.check_values) == (256, 32, True)
    assert (layer.causal_alignment, layer.on_invalid, layer.implementation) == ("top_left", "drop", "eager")


@pytest.mark.parametrize(("num_heads", "num_kv_heads", "num_rep"), [(4, 4, 1), (4, 2, 2), (32, 1, 32)])
def test_num_rep(num_heads: int, num_kv_heads: int, num_rep: int) -> None:
    """num_heads // num_kv_heads."""
    assert Attention(num_heads, D, num_kv_heads).num_rep == num_rep


@pytest.mark.parametrize("head_dim", [1, 8, 80, 128])
def test_scale_is_a_python_float(head_dim: int) -> None:
    """1/sqrt(head_dim), never rounded to the input's dtype."""
    layer = Attention(H, head_dim, G).half()
    assert type(layer.scale) is float
    assert layer.scale == 1 / sqrt(head_dim)


@pytest.mark.parametrize("max_heads", [32, 64])
def test_more_heads_than_max_heads_are_refused(max_heads: int) -> None:
    """64-head models pass max_heads=64."""
    assert Attention(max_heads, D, 8, max_heads=max_heads).num_heads == max_heads
    with pytest.raises(ValueError, match=f"max_heads={max_heads}"):
        Attention(max_heads + 8, D, 8, max_heads=max_heads)


def test_max_heads_is_used_in_the_forward() -> None:
    """A 64-head layer runs."""
    call = prefill_call([2], num_heads=64, max_heads=64)
    assert call.but(q=torch.randn(2, 64, D)).run().shape == (2, 64 * D)


def test_the_cache_is_empty_until_the_first_forward() -> None:
    """Then zeros [N, S, G, D] but for what was stored."""
    call = prefill_call([2], num_blocks=3)
    assert call.layer.k_cache.numel() == call.layer.v_cache.numel() == 0
    call.run()
    for cache, new in ((call.layer.k_cache, call.k), (call.layer.v_cache, call.v)):
        assert cache.shape == (3, S, G, D)
        assert cache[0, :2].equal(new)
        assert not cache[0, 2:].any()
        assert not cache[1:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_cache_has_the_queries_dtype_and_device(dtype: torch.dtype) -> None:
    """It is allocated like q."""
    call = prefill_call([2], dtype=dtype, num_blocks=3)
    call.run()
    for cache in (call.layer.k_cache, call.layer.v_cache):
        assert (cache.dtype, cache.device) == (dtype, call.q.device)


def test_the_cache_is_allocated_once() -> None:
    """The second forward writes to the first one's."""
    call = prefill_call([2], num_blocks=3)
    call.run()
    caches = (call.layer.k_cache, call.layer.v_cache)
    call.but(slot_mapping=torch.tensor([9, 10]), num_kvcache_blocks=7).run()
    assert (call.layer.k_cache, call.layer.v_cache) == caches
    assert caches[0][0, :2].equal(call.k)
    assert caches[1][2, 1:3].equal(call.v)


def test_an_engines_cache_is_kept() -> None:
    """Its block size too, whatever the layer's."""
    call = prefill_call([3], num_blocks=7)
    call.layer.k_cache, call.layer.v_cache = torch.zeros(2, 2, 5, G, D)
    caches = (call.layer.k_cache, call.layer.v_cache)
    call.but(slot_mapping=torch.tensor([9, -1, 5])).run()
    assert (call.layer.k_cache, call.layer.v_cache) == caches
    assert caches[0][1, 4].equal(call.k[0])
    assert caches[1][1, 0].equal(call.v[2])


def test_a_prefill_needs_no_cache() -> None:
    """Nothing to store to, nothing stored, and the same output."""
    bare, stored = prefill_call([2, 3]), prefill_call([2, 3], num_blocks=2)
    assert bits(bare.run()) == bits(stored.run())
    assert bare.layer.k_cache.numel() == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "call_of",
    [
        *(lambda d, n=n: prefill_call(n, dtype=d) for n in PREFILLS),
        *(lambda d, n=n: decode_call(n, d) for n in DECODES),
    ],
)
def test_output_is_tokens_by_heads_in_the_queries_dtype(call_of: Any, dtype: torch.dtype) -> None:
    """[T, H*D], on q's device; T == 0, B == 0 and sequences of length 0 are ordinary input."""
    call = call_of(dtype)
    output = call.run()
    assert (output.shape, output.dtype, output.device) == ((len(call.q), H * D), dtype, call.q.device)
    assert output.isfinite().all()


@pytest.mark.parametrize("call", [prefill_call([2, 3], num_blocks=3), decode_call([5, 3])], ids=["prefill", "decode"])
def test_inputs_are_never_modified(call: Call) -> None:
    """q, k, v and the context's tensors, bit for bit."""
    names = ("cu_seqlens_q", "cu_seqlens_k", "slot_mapping", "context_lens", "block_tables")
    tensors = [call.q, call.k, call.v, *(x for name in names if (x := getattr(call.context, name)) is not None)]
    before = [bits(x) for x in tensors]
    call.run().fill_(7.0)
    assert [bits(x) for x in tensors] == before


def test_the_output_is_checked_last() -> None:
    """attention_output, after the reshape; its values are the record's."""
    call = prefill_call([2])
    with captured_events() as events:
        output = call.but(v=call.v * 1e6).run()
    assert [event.tensor for event in events] == ["attention_output"]
    assert (events[0].max, events[0].min) == (output.max().item(), output.min().item())


@pytest.mark.parametrize(
    "call",
    [prefill_call([3, 0, 2], num_blocks=2, device="meta"), decode_call([9, 0, 3], device="meta")],
    ids=["prefill", "decode"],
)
def test_silenced_loggers_cost_no_transfer(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A meta tensor has no values: whatever would wait for a device raises there."""
    monkeypatch.setattr(eager, "full_precision", lambda _: nullcontext())  # autocast knows no meta device
    for name in (RANGE_LOG, INDEX_LOG):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    assert call.run().shape == (len(call.q), H * D)
