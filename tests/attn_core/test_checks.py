"""Bad input is refused before anything is written, by an error that names the argument and its value."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from attn_core import Context, attention_context, reset_context
from attn_core.checks import check_values
from attn_core.metadata import HostMetadata
from tests.attn_core.calls import DTYPES, Call, D, G, H, S, bits, decode_call, prefill_call
from tests.attn_core.remote import Remote, remote

Spoil = Callable[[Any], Any]


def _to(**changes: Any) -> Spoil:
    return lambda x: x.to(**changes)


def _value(value: Any) -> Spoil:
    return lambda _: torch.tensor(value)


def _constant(value: Any) -> Spoil:
    return lambda _: value


def _nested(x: Tensor) -> Tensor:
    with warnings.catch_warnings():  # the layout that is told apart by a flag is deprecated
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([x[:1], x[1:]])


TOKENS: list[tuple[str, Spoil, type[Exception], str]] = [
    *((name, lambda x: x.to_sparse(), TypeError, "sparse") for name in ("q", "k", "v", "slot_mapping")),
    *((name, lambda x: _nested(x), TypeError, "nested") for name in ("q", "k", "v")),
    *(("is_prefill", _constant(value), TypeError, repr(value)) for value in ("no", None, 1, [])),
    ("q", lambda x: x.tolist(), TypeError, "list"),
    ("k", lambda _: None, TypeError, "NoneType"),
    ("q", _to(dtype=torch.int32), TypeError, "int32"),
    ("q", lambda x: x[0], ValueError, f"({H}, {D})"),
    ("q", lambda x: x[:, :-1], ValueError, f"{H - 1}, {D}"),
    ("q", lambda x: x[..., :-1], ValueError, f"{H}, {D - 1}"),
    ("k", lambda x: x[:, :1], ValueError, f"1, {D}"),
    ("k", lambda x: x[..., :-1], ValueError, f"{G}, {D - 1}"),
    ("v", lambda x: x[:, :1], ValueError, f"1, {D}"),
    ("v", lambda x: x[:-1], ValueError, f"{G}, {D}"),
    ("k", _to(dtype=torch.float16), TypeError, "float16"),
    ("v", _to(dtype=torch.float64), TypeError, "float64"),
    ("k", _to(device="meta"), ValueError, "meta"),
    ("v", _to(device="meta"), ValueError, "meta"),
    ("slot_mapping", lambda _: None, ValueError, "None"),
    ("slot_mapping", lambda x: x[:-1], ValueError, "slots"),
    ("slot_mapping", lambda x: x[None], ValueError, "(1, "),
    ("slot_mapping", _to(dtype=torch.float32), TypeError, "float32"),
    ("slot_mapping", _to(device="meta"), ValueError, "meta"),
]
CU_SEQLENS: list[tuple[str, Spoil, type[Exception], str]] = [
    (name, spoil, error, shown)
    for name in ("cu_seqlens_q", "cu_seqlens_k")
    for spoil, error, shown in (
        (lambda _: None, ValueError, "None"),
        (lambda x: x.tolist(), TypeError, "list"),
        (_to(dtype=torch.float32), TypeError, "float32"),
        (_to(dtype=torch.int16), TypeError, "int16"),
        (_to(device="meta"), ValueError, "meta"),
        (lambda x: x[None], ValueError, "(1, 3)"),
        (_value([1, 2, 5]), ValueError, "[1, 2, 5]"),
        (_value([0, 6, 5]), ValueError, "[0, 6, 5]"),
        (_value([0, -1, 5]), ValueError, "[0, -1, 5]"),
        (_value([0, 2, 4]), ValueError, "[0, 2, 4]"),
        (_value([0, 2, 6]), ValueError, "[0, 2, 6]"),
    )
]
PREFILL = [
    *TOKENS,
    *CU_SEQLENS,
    ("cu_seqlens_q", lambda x: x[:0], ValueError, "empty"),
    ("cu_seqlens_k", _value([0, 5]), ValueError, "2"),
    ("num_kvcache_blocks", lambda _: 0, ValueError, "0"),
    ("num_kvcache_blocks", lambda _: -3, ValueError, "-3"),
    *(("num_kvcache_blocks", _constant(value), TypeError, repr(value)) for value in (2.0, True, "2")),
]
DECODE: list[tuple[str, Spoil, type[Exception], str]] = [
    *TOKENS,
    ("context_lens", lambda _: None, ValueError, "None"),
    ("context_lens", lambda x: x[:-1], ValueError, "1"),
    ("context_lens", lambda x: x[None], ValueError, "(1, 2)"),
    ("context_lens", _to(dtype=torch.float32), TypeError, "float32"),
    ("context_lens", _value([5, -1]), ValueError, "[5, -1]"),
    ("block_tables", lambda _: None, ValueError, "None"),
    ("block_tables", lambda x: x[:-1], ValueError, "1"),
    ("block_tables", lambda x: x[0], ValueError, "(2,)"),
    ("block_tables", _to(dtype=torch.float64), TypeError, "float64"),
    ("block_tables", _to(device="meta"), ValueError, "meta"),
]
CACHES: list[tuple[str, Spoil, type[Exception], str]] = [
    ("k_cache", lambda x: x[0], ValueError, f"({S}, {G}, {D})"),
    ("k_cache", lambda x: x[..., :-1], ValueError, str(D - 1)),
    ("v_cache", lambda x: x[:, :, :1], ValueError, f"1, {D}"),
    ("v_cache", lambda x: x[:-1], ValueError, f"{S}, {G}, {D}"),
    ("v_cache", lambda x: x[:0], ValueError, "(0, "),
    ("k_cache", _to(dtype=torch.int8), TypeError, "int8"),
    ("v_cache", _to(dtype=torch.float16), TypeError, "float16"),
    ("v_cache", _to(device="meta"), ValueError, "meta"),
    *((name, lambda x: x.tolist(), TypeError, "list") for name in ("k_cache", "v_cache")),
    *((name, _constant(None), TypeError, "None") for name in ("k_cache", "v_cache")),
    *((name, lambda x: x.to_sparse(), TypeError, "sparse") for name in ("k_cache", "v_cache")),
    *((name, lambda x: x.detach().requires_grad_(), ValueError, "grad") for name in ("k_cache", "v_cache")),
    *((name, lambda x: x[:1].expand(x.shape), ValueError, "(0, ") for name in ("k_cache", "v_cache")),
    *((name, lambda x: _made_in_inference_mode(x), ValueError, "inference") for name in ("k_cache", "v_cache")),
]


def _made_in_inference_mode(x: Tensor) -> Tensor:
    with torch.inference_mode():
        return x.clone()


def _spoiled(call: Call, name: str, spoil: Spoil) -> Call:
    return call.but(**{name: spoil(getattr(call if name in ("q", "k", "v") else call.context, name))})


def _assert_refused(call: Call, name: str, error: type[Exception], shown: str) -> None:
    """``argument: value (rule)``."""
    with pytest.raises(error) as caught:
        call.run()
    message = str(caught.value)
    assert message.startswith(f"{name}:")
    assert shown in message


@pytest.mark.parametrize(("name", "spoil", "error", "shown"), PREFILL)
def test_a_bad_prefill_is_refused(name: str, spoil: Spoil, error: type[Exception], shown: str) -> None:
    """And no cache has been allocated."""
    call = prefill_call([2, 3], num_blocks=2)
    _assert_refused(_spoiled(call, name, spoil), name, error, shown)
    assert call.layer.k_cache.numel() == call.layer.v_cache.numel() == 0


@pytest.mark.parametrize(("name", "spoil", "error", "shown"), DECODE)
def test_a_bad_decode_is_refused(name: str, spoil: Spoil, error: type[Exception], shown: str) -> None:
    """And no byte of the cache has changed."""
    call = decode_call([5, 3])
    before = call.cache_bits()
    _assert_refused(_spoiled(call, name, spoil), name, error, shown)
    assert call.cache_bits() == before


@pytest.mark.parametrize(("name", "spoil", "error", "shown"), CACHES)
def test_a_bad_cache_is_refused(name: str, spoil: Spoil, error: type[Exception], shown: str) -> None:
    """An engine's own cache must be [N, S, G, D] twice, in one floating dtype."""
    call = decode_call([5, 3])
    before = call.cache_bits()
    caches = {"k_cache": call.layer.k_cache, "v_cache": call.layer.v_cache}
    setattr(call.layer, name, spoil(caches[name]))
    _assert_refused(call, name, error, shown)
    assert (bits(caches["k_cache"]), bits(caches["v_cache"])) == before


@pytest.mark.parametrize("shift", [0, 1])
def test_caches_that_share_memory_are_refused(shift: int) -> None:
    """One tensor as both, and two that have a block in common: keys would be read as values."""
    call = decode_call([5, 3])
    memory = torch.cat((call.layer.k_cache, call.layer.v_cache))
    blocks = len(call.layer.k_cache)
    for first, second in ((0, shift), (shift, 0)):
        call.layer.k_cache, call.layer.v_cache = memory[first : first + blocks], memory[second : second + blocks]
        before = bits(memory)
        _assert_refused(call, "v_cache", ValueError, "k_cache")
        assert bits(memory) == before


def test_caches_cut_out_of_one_tensor_are_accepted() -> None:
    """As vLLM keeps them, [N, 2, S, G, D]: the same output as from two tensors, and the same caches after it."""
    call = decode_call([5, 3])
    both = torch.stack((call.layer.k_cache, call.layer.v_cache), dim=1)
    output, after = bits(call.run()), call.cache_bits()
    call.layer.k_cache, call.layer.v_cache = both.unbind(1)
    assert bits(call.run()) == output
    assert call.cache_bits() == after


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_cache_that_requires_grad_is_written_where_no_gradient_is_recorded(mode: Callable[[], Any]) -> None:
    """An engine may have made parameters of its caches; and in inference mode it may have made them there."""
    call = decode_call([5, 3])
    expected, after = bits(call.run()), call.cache_bits()
    with mode():
        call.layer.k_cache, call.layer.v_cache = (
            torch.nn.Parameter(x.clone()) for x in (call.layer.k_cache, call.layer.v_cache)
        )
        assert bits(call.run()) == expected
    assert call.cache_bits() == after


def test_a_forward_without_a_context_says_so() -> None:
    """Never set, set back, or set in another thread."""
    call = decode_call([5, 3])
    before = call.cache_bits()
    reset_context()
    with pytest.raises(ValueError, match=r"^context: none \(must be set in this thread"):
        call.layer(call.q, call.k, call.v)
    assert call.cache_bits() == before
    with attention_context(Context()), pytest.raises(ValueError, match=r"^context_lens: None"):
        call.layer(call.q, call.k, call.v)  # one is set: its fields are what is missing


def test_a_decode_takes_one_token_a_sequence() -> None:
    """T == T_k == B."""
    call = decode_call([5, 3])
    extra = {name: torch.cat((getattr(call, name), getattr(call, name)[:1])) for name in ("k", "v")}
    _assert_refused(call.but(**extra, slot_mapping=torch.tensor([0, 1, 2])), "k", ValueError, "3")


def test_a_decode_without_a_cache_is_refused() -> None:
    """There is nothing to attend to."""
    call = decode_call([5, 3])
    call.layer.k_cache = call.layer.v_cache = torch.empty(0)
    _assert_refused(call, "k_cache", ValueError, "empty")


@pytest.mark.parametrize("slot", [-2, 2 * S, 2**31])
def test_raise_refuses_invalid_slots_before_any_write(slot: int) -> None:
    """The other tokens' slots are valid, and are not written."""
    call = prefill_call([3], num_blocks=2, on_invalid="raise")
    _assert_refused(call.but(slot_mapping=torch.tensor([0, slot, 1])), "slot_mapping", ValueError, str(slot))
    assert not call.layer.k_cache.numel()


@pytest.mark.parametrize("block", [-1, -2, 5, 2**31])
def test_raise_refuses_invalid_blocks_before_any_write(block: int) -> None:
    """The store comes after the tables have been looked at. The sequence's index is in the name."""
    call = decode_call([5, 3], on_invalid="raise")
    before = call.cache_bits()
    tables = call.context.block_tables.clone()
    tables[0, 1] = block
    _assert_refused(call.but(block_tables=tables), "block_tables[0]", ValueError, str(block))
    assert call.cache_bits() == before


def test_raise_refuses_a_context_beyond_its_table() -> None:
    """M*S is the most a table can hold."""
    call = decode_call([5, 3], on_invalid="raise")
    before = call.cache_bits()
    spoiled = call.but(context_lens=torch.tensor([5, 2 * S + 1]), block_tables=torch.zeros(2, 2, dtype=torch.int64))
    _assert_refused(spoiled, "context_lens[1]", ValueError, str(2 * S + 1))
    assert call.cache_bits() == before


def test_raise_reads_no_entry_beyond_the_context() -> None:
    """What lies there is nobody's block; -1 is no invalid slot either."""
    call = decode_call([5, 3], on_invalid="raise")
    assert call.context.block_tables[1, 1] == -1
    assert call.but(slot_mapping=torch.tensor([-1, -1])).run().isfinite().all()


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_good_input_is_accepted(dtype: torch.dtype, index_dtype: torch.dtype) -> None:
    """Every floating and both integer types, in both phases."""
    for call in (prefill_call([2, 0, 3], dtype=dtype, num_blocks=2), decode_call([5, 3], dtype)):
        fields = ("cu_seqlens_q", "cu_seqlens_k", "slot_mapping", "context_lens", "block_tables")
        set_ = {name: getattr(call.context, name) for name in fields if getattr(call.context, name) is not None}
        assert bits(call.but(**{name: x.to(index_dtype) for name, x in set_.items()}).run()) == bits(call.run())


@pytest.mark.parametrize("name", ["cu_seqlens_q", "cu_seqlens_k"])
def test_host_values_are_always_checked(name: str) -> None:
    """check_values=False is about values that cost a transfer."""
    call = prefill_call([2, 3], check_values=False)
    _assert_refused(call.but(**{name: torch.tensor([0, 6, 5])}), name, ValueError, "[0, 6, 5]")
    decode = decode_call([5, 3], check_values=False)
    _assert_refused(decode.but(context_lens=torch.tensor([5, -1])), "context_lens", ValueError, "[5, -1]")


BAD_REMOTE = [
    ("cu_seqlens_q", Context(True, remote(torch.tensor([0, 6, 5])), remote(torch.tensor([0, 2, 5])))),
    ("cu_seqlens_k", Context(True, remote(torch.tensor([0, 2, 5])), remote(torch.tensor([1, 2, 5])))),
    ("context_lens", Context(context_lens=remote(torch.tensor([5, -1])))),
]


@pytest.mark.parametrize(("name", "context"), BAD_REMOTE)
def test_remote_values_are_checked_in_one_transfer(name: str, context: Context) -> None:
    """The default."""
    before = Remote.transfers
    with pytest.raises(ValueError, match=name):
        check_values(context, HostMetadata(context), 5, 5, True)
    assert Remote.transfers == before + 1


@pytest.mark.parametrize(("name", "context"), BAD_REMOTE)
def test_remote_values_are_left_alone_where_the_engine_has_checked(name: str, context: Context) -> None:
    """check_values=False: no transfer to look at ``name``."""
    before = Remote.transfers
    assert name in HostMetadata(context)
    check_values(context, HostMetadata(context), 5, 5, False)
    assert Remote.transfers == before


@pytest.mark.parametrize("option", [True, False])
def test_the_layer_passes_its_option_on(option: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``check_values``'s ``all_of_them``."""
    seen: list[bool] = []
    monkeypatch.setattr("attn_core.attention.check_values", lambda *args: seen.append(args[-1]))
    prefill_call([2], check_values=option).run()
    assert seen == [option]
