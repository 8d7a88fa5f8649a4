"""Accumulation, rounding, overflow, and what must not influence the bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.attn_core import naive
from tests.attn_core.calls import DTYPES, Call, D, G, H, bits, decode_call, prefill_call
from tests.attn_core.float32 import FASTER, exact_on_the_cpu, faster_products, product_precisions
from verification.backends.captured_events import captured_events

LONG = 48


def _calls(dtype: torch.dtype) -> dict[str, tuple[Call, Tensor]]:
    """A long call of each phase, and its exact output."""
    prefill, decode = prefill_call([LONG], dtype=dtype), decode_call([LONG, LONG - 3], dtype)
    decode.run()
    return {
        "prefill": (prefill, naive.prefill(prefill, lambda a, b, _lq, _lk: b <= a)),
        "decode": (decode, naive.decode(decode)),
    }


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_accumulation_is_wide_and_rounds_once(dtype: torch.dtype, phase: str) -> None:
    """float32 (float64 for float64) inside, one rounding at the end: half a unit of the exact result."""
    call, exact = _calls(dtype)[phase]
    assert ((call.run().double() - exact).abs() <= naive.tolerance(dtype, exact)).all()


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_output_is_the_wide_result_rounded(dtype: torch.dtype, phase: str) -> None:
    """Widening the input first changes nothing: no step before the last knows the narrow dtype."""
    if phase == "prefill":
        call, wide = prefill_call([9, 4], dtype=dtype), prefill_call([9, 4])
    else:
        call, wide = decode_call([9, 4], dtype), decode_call([9, 4], cache_dtype=dtype)
    wide = wide.but(q=call.q.float(), k=call.k.float(), v=call.v.float())
    assert bits(call.run()) == bits(wide.run().to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_product_beyond_float16_is_finite(dtype: torch.dtype) -> None:
    """q.k is 8 * 300^2 = 720000 > 65504: equal scores, and the output is the mean of the values."""
    call = prefill_call([3], dtype=dtype)
    call = call.but(q=torch.full_like(call.q, 300.0), k=torch.full_like(call.k, 300.0))
    with captured_events() as events:
        output = call.run()
    exact = naive.prefill(call, lambda a, b, _lq, _lk: b <= a)
    assert ((output.double() - exact).abs() <= naive.tolerance(dtype, exact)).all()
    assert [(event.tensor, event.nonfinite) for event in events] == [("prefill_attn_0", False)]
    assert events[0].max == pytest.approx(720000 / D**0.5, rel=1e-6)


def test_a_decodes_product_beyond_float16_is_finite() -> None:
    """The same through the cache."""
    call = decode_call([5, 3], torch.float16)
    call.layer.k_cache.fill_(300.0)
    call = call.but(q=torch.full_like(call.q, 300.0), k=torch.full_like(call.k, 300.0))
    output = call.run()
    exact = naive.decode(call)
    assert ((output.double() - exact).abs() <= naive.tolerance(torch.float16, exact)).all()


def test_overflow_is_judged_on_the_exact_score() -> None:
    """64 * 33^2 = 69696 overflows float16 before scaling; the score 8712 is within range: no event."""
    shape = {"num_heads": 1, "num_kv_heads": 1, "head_dim": 64}
    tokens = torch.full((2, 1, 64), 33.0, dtype=torch.float16)
    with captured_events() as events:
        output = prefill_call([2], dtype=torch.float16, **shape).but(q=tokens, k=tokens, v=tokens).run()
    assert output.eq(33.0).all()
    assert events == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_values_average_without_overflow(dtype: torch.dtype) -> None:
    """A mean of numbers at the top of the dtype is finite."""
    largest = torch.finfo(dtype).max
    call = prefill_call([4], dtype=dtype)
    call = call.but(q=torch.zeros_like(call.q), v=torch.full_like(call.v, largest / 8))
    with captured_events():
        assert call.run().double().sub(largest / 8).abs().max() <= largest / 8 * 1e-2


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_call_gives_the_same_bits(dtype: torch.dtype, phase: str) -> None:
    """Same input, same device, same implementation."""
    call = prefill_call([33, 7], dtype=dtype) if phase == "prefill" else decode_call([33, 7], dtype)
    assert len({bits(call.run()) for _ in range(5)}) == 1


def _large() -> Call:
    """Large enough that torch's faster, less exact products apply where they are allowed."""
    shape = {"num_heads": 2, "num_kv_heads": 1, "head_dim": 128}
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(256, heads, 128, generator=generator) for heads in (2, 1, 1))
    return prefill_call([256], **shape).but(q=q, k=k, v=v)


@FASTER
def test_the_process_float32_precision_has_no_influence(how: str) -> None:
    """float32 means float32, however the process has asked for less; and it keeps what it asked for."""
    call = _large()
    exact = call.run()
    with faster_products(how):
        before = product_precisions()
        assert bits(call.run()) == bits(exact)
        assert product_precisions() == before


class Products(TorchDispatchMode):
    """For every matrix product that ran inside: whether float32 was exact, and the dtype of its operands."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, torch.dtype]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm, torch.ops.aten.baddbmm):
            self.seen.append((exact_on_the_cpu(), args[1].dtype))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@FASTER
def test_both_products_run_at_the_highest_precision(how: str, dtype: torch.dtype, phase: str) -> None:
    """In float32, also on a CPU that has nothing faster to offer."""
    call = prefill_call([9, 4], dtype=dtype) if phase == "prefill" else decode_call([9, 4], dtype)
    with faster_products(how), torch.autocast("cpu", torch.bfloat16), Products() as products:
        call.run()
    assert len(products.seen) >= 4
    assert set(products.seen) == {(True, torch.float32)}


def test_the_process_may_change_its_mind_between_forwards() -> None:
    """No state of ours is left in torch's switches."""
    call = _large()
    exact = call.run()
    for _ in range(2):
        with faster_products("cuda"):
            assert bits(call.run()) == bits(exact)
            torch.backends.cuda.matmul.allow_tf32 = False
            assert bits(call.run()) == bits(exact)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_autocast_has_no_influence(dtype: torch.dtype, phase: str) -> None:
    """The bits and the dtype are those without it."""
    call = prefill_call([9, 4], dtype=dtype) if phase == "prefill" else decode_call([9, 4], dtype)
    plain = call.run()
    with torch.autocast("cpu", torch.bfloat16):
        output = call.run()
    assert output.dtype == dtype
    assert bits(output) == bits(plain)


def test_strides_have_no_influence() -> None:
    """A fused QKV's views give the bits of their copies."""
    fused = torch.randn(6, H + 2 * G, D)
    q, k, v = fused.split([H, G, G], dim=1)
    call = prefill_call([4, 2])
    copies = call.but(q=q.clone(), k=k.clone(), v=v.clone())
    assert bits(call.but(q=q, k=k, v=v).run()) == bits(copies.run())
