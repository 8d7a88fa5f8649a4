"""The vectorised implementation against the eager one: equal numbers, equal warnings, the same isolation of NaN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from attn_core import eager, gathered
from tests.attn_core.calls import DTYPES, Call, D, G, H, S, bits, decode_call, prefill_call
from verification.backends.captured_events import captured_events

NAN, INF = float("nan"), float("inf")
CallOf = Callable[..., Call]
CALLS: dict[str, CallOf] = {
    "square": lambda **o: prefill_call([3, 0, 5, 1], **o),
    "fewer queries": lambda **o: prefill_call([2, 0, 1], [5, 4, 7], **o),
    "more queries": lambda **o: prefill_call([5, 4, 2], [2, 0, 1], **o),
    "chunked": lambda **o: prefill_call([2, 5, 0], [5, 2, 3], causal_alignment="bottom_right", **o),
    "decode": lambda **o: decode_call([9, 0, 4, 1, 13], **o),
    "nothing": lambda **o: decode_call([0, 0], **o),
}
EVERY = pytest.mark.parametrize("call_of", CALLS.values(), ids=CALLS)
TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-12}


def both(call_of: CallOf, change: Callable[[Call], Call] = lambda call: call, **options: Any) -> tuple[Tensor, Tensor]:
    """Eager's answer and sdpa's."""
    one, other = (change(call_of(implementation=name, **options)).run() for name in ("eager", "sdpa"))
    assert one.dtype == other.dtype
    return one, other


def close(one: Tensor, other: Tensor, dtype: torch.dtype = torch.float32) -> None:
    torch.testing.assert_close(other, one, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], equal_nan=True)


@EVERY
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_numbers(call_of: CallOf, dtype: torch.dtype) -> None:
    """In every dtype, ragged, with sequences of nothing."""
    close(*both(call_of, dtype=dtype), dtype)


@pytest.fixture
def kernel_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes the eager steps."""
    monkeypatch.setattr("attn_core.attention.Attention._attend", None)
    monkeypatch.setattr("attn_core.attention.Attention._decode_attn", None)


@EVERY
@pytest.mark.usefixtures("kernel_alone")
def test_finite_numbers_never_take_the_eager_steps(call_of: CallOf) -> None:
    """Also where what nobody sees is NaN."""
    call = call_of(implementation="sdpa")
    clean = call.run()
    if not call.context.is_prefill:
        call.layer.k_cache[0] = call.layer.v_cache[0] = NAN
        for row, length in zip(call.context.block_tables.tolist(), call.context.context_lens.tolist(), strict=True):
            if length % S:
                call.layer.k_cache[row[length // S], length % S :] = NAN
                call.layer.v_cache[row[length // S], length % S :] = INF
    assert bits(call.run()) == bits(clean)


@EVERY
@pytest.mark.parametrize("name", ["q", "k", "v"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_nan_or_inf(call_of: CallOf, name: str, value: float) -> None:
    """Isolated where it is hidden, shown where it is seen, as eager does."""

    def planted(call: Call) -> Call:
        x = getattr(call, name).clone()
        if len(x):
            x[len(x) // 2, 0, 0] = value
        return call.but(**{name: x})

    close(*both(call_of, planted))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["k_cache", "v_cache"])
def test_what_a_context_sees_is_nan_or_inf(name: str, value: float) -> None:
    """In the cache, of one sequence: the others' numbers are as they were."""

    def planted(call: Call) -> Call:
        getattr(call.layer, name)[call.context.block_tables[4, 1], 2, 1, 3] = value
        return call

    one, other = both(CALLS["decode"], planted)
    close(one, other)
    if value != value or name == "v_cache":
        assert not other[4].isfinite().all()
    close(both(CALLS["decode"])[0][:4], other[:4])


@pytest.mark.parametrize("table", [[[-1, 2, 1]], [[2, 99, 1]], [[2, 1, -7]], [[2]]])
def test_bad_blocks(table: list[list[int]]) -> None:
    """Their positions are not seen, the others keep their place, and both warn alike."""

    def misled(call: Call) -> Call:
        return call.but(block_tables=torch.tensor(table))

    events = []
    for name in ("eager", "sdpa"):
        with captured_events() as heard:
            misled(decode_call([11], implementation=name)).run()
        events.append(heard)
    assert events[0] == events[1] != []
    close(*both(lambda **o: decode_call([11], **o), misled))


@EVERY
def test_equal_warnings(call_of: CallOf) -> None:
    """But for the scores, which kernels keep."""
    heard = []
    for name in ("eager", "sdpa"):
        call = call_of(implementation=name)
        call = call.but(q=call.q * 2e4, k=call.k * -3e4)
        with captured_events() as events:
            call.run()
        heard.append([event for event in events if not event.tensor.startswith("prefill_attn_")])
    assert heard[0] == heard[1]


@pytest.mark.parametrize("near", [1, 600, 10**9])
def test_however_many_are_gathered_at_a_time(near: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One, a few, all."""
    monkeypatch.setattr(gathered, "_BYTES_AT_A_TIME", near)
    close(*both(CALLS["decode"]))
    runs = list(gathered._split_into_runs([9, 0, 4, 1, 13], 1))
    assert [i for run in runs for i in range(5)[run]] == list(range(5))
    assert len(runs) == 5 if near == 1 else len(runs) == 1


def test_a_cache_with_gaps() -> None:
    """Strides of the engine's choice."""

    def spread(call: Call) -> Call:
        for name in ("k_cache", "v_cache"):
            cache = getattr(call.layer, name)
            setattr(call.layer, name, cache.transpose(0, 1).contiguous().transpose(0, 1))
            assert not getattr(call.layer, name).is_contiguous()
        return call

    close(*both(CALLS["decode"], spread))


@pytest.mark.parametrize("cache_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_caches_of_other_dtypes(dtype: torch.dtype, cache_dtype: torch.dtype) -> None:
    """Whatever is wider is computed in; the answer is in the queries' dtype."""
    one, other = both(CALLS["decode"], dtype=dtype, cache_dtype=cache_dtype)
    coarse = max(dtype, cache_dtype, key=lambda each: TOLERANCE[each])
    close(one, other, coarse)


@pytest.mark.parametrize("name", ["decode", "nothing"])
def test_the_products_of_an_accelerator(name: str) -> None:
    """The way of a decode there, on the host."""
    call = CALLS[name](implementation="sdpa")
    exact = CALLS[name](implementation="eager").run().view(-1, H, D)
    call.run()
    lengths, tables = call.context.context_lens, call.context.block_tables
    assert lengths is not None
    seen, k, v = gathered._gather(call.layer, call.q, lengths, tables, int(lengths.max()))
    found = gathered._attend_by_products(call.layer, call.q, k, v, seen).masked_fill(
        ~seen.any(dim=1)[:, None, None], 0.0
    )
    close(exact, found)


def test_every_group_has_its_head() -> None:
    """Heads of one group share a key head; of two, they do not."""
    call = decode_call([5], implementation="sdpa")
    call.layer.v_cache[:, :, 0], call.layer.v_cache[:, :, 1] = 1.0, 2.0
    call = call.but(v=torch.stack([torch.ones(1, 8), torch.full((1, 8), 2.0)], dim=1))
    assert call.run().view(H, -1)[:, 0].round(decimals=5).tolist() == [1.0] * (H // G) + [2.0] * (H // G)


def test_an_unknown_implementation() -> None:
    with pytest.raises(ValueError, match="implementation: 'fast'"):
        prefill_call([1], implementation="fast")


def test_precision_is_put_back() -> None:
    """As eager leaves it."""
    before = torch.get_float32_matmul_precision()
    CALLS["decode"](implementation="sdpa").run()
    assert torch.get_float32_matmul_precision() == before
    assert not eager._INSIDE["cpu"]
