"""Prefill: every query sees the keys of its own sequence, up to its own."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from tests.attn_core import naive
from tests.attn_core.calls import DTYPES, D, G, H, bits, prefill_call
from verification.backends.captured_events import captured_events

LENGTHS = [
    ([5], [5]),
    ([3, 1, 4], [3, 1, 4]),
    ([2, 3], [6, 4]),  # chunks: more keys than queries
    ([5, 2], [2, 1]),  # fewer
    ([0, 3, 2], [2, 0, 2]),
    ([1] * 9, [1] * 9),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("lengths_q", "lengths_k"), LENGTHS)
def test_top_left(lengths_q: list[int], lengths_k: list[int], dtype: torch.dtype) -> None:
    """Query a sees key b when b <= a."""
    call = prefill_call(lengths_q, lengths_k, dtype)
    exact = naive.prefill(call, lambda a, b, _lq, _lk: b <= a)
    assert ((call.run().double() - exact).abs() <= naive.tolerance(dtype, exact)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("lengths_q", "lengths_k"), LENGTHS)
def test_bottom_right(lengths_q: list[int], lengths_k: list[int], dtype: torch.dtype) -> None:
    """Query a sees key b when b <= a + Lk - Lq."""
    call = prefill_call(lengths_q, lengths_k, dtype, causal_alignment="bottom_right")
    exact = naive.prefill(call, lambda a, b, lq, lk: b <= a + lk - lq)
    assert ((call.run().double() - exact).abs() <= naive.tolerance(dtype, exact)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("poison", [0.0, nan, inf])
def test_a_query_that_sees_no_key_gives_zeros(poison: float, dtype: torch.dtype) -> None:
    """Bottom-right with more queries than keys, and no keys at all, whatever the hidden keys hold."""
    call = prefill_call([5, 2], [2, 0], dtype, causal_alignment="bottom_right")
    call.k[1], call.v[1] = poison, poison
    with captured_events():
        output = call.run()
    assert not output[:3].any()
    assert not output[5:].any()
    assert output[3].any()


@pytest.mark.parametrize("poison", [nan, inf, -inf])
@pytest.mark.parametrize("name", ["k", "v"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_hidden_nan_or_inf_changes_no_bit(name: str, poison: float, dtype: torch.dtype) -> None:
    """The last key is hidden from every query but the last; a visible one shows."""
    call = prefill_call([4], dtype=dtype)
    clean = call.run()
    getattr(call, name)[3, 1, 2] = poison
    with captured_events():
        output = call.run()
    assert bits(output[:3]) == bits(clean[:3])
    assert bits(output[3, : D * H // G]) == bits(clean[3, : D * H // G])
    assert bits(output[3]) != bits(clean[3])


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_a_visible_nan_is_seen(name: str) -> None:
    """Nobody cleans up what the model computed."""
    call = prefill_call([3])
    getattr(call, name)[0] = nan
    with captured_events():
        assert call.run()[0].isnan().all()


@pytest.mark.parametrize("poison", [nan, inf, 3e4])
def test_sequences_do_not_see_each_other(poison: float) -> None:
    """Another sequence's tokens change no bit."""
    call = prefill_call([2, 3, 2])
    clean = call.run()
    for tensor in (call.q, call.k, call.v):
        tensor[2:5] = poison
    with captured_events():
        output = call.run()
    assert bits(output[[0, 1, 5, 6]]) == bits(clean[[0, 1, 5, 6]])


def test_scores_are_masked_by_minus_infinity() -> None:
    """Where every visible score is very low, a finite penalty would let the hidden keys win."""
    call = prefill_call([2])
    call.q.fill_(1e18)
    call.k[0], call.k[1] = -1e18, 1e18
    with captured_events():
        assert call.run()[0].reshape(H, D).equal(call.v[0].repeat_interleave(H // G, dim=0))


def test_a_prefill_attends_to_this_calls_keys_not_the_caches() -> None:
    """The cache may have rounded them."""
    call = prefill_call([3], num_blocks=1)
    plain = call.run()
    call.layer.k_cache = call.layer.k_cache.to(torch.bfloat16)
    call.layer.v_cache = call.layer.v_cache.to(torch.bfloat16)
    assert bits(call.run()) == bits(plain)


def test_names_of_the_checked_tensors() -> None:
    """In the order of the computation, for every sequence."""
    call = prefill_call([2, 3])
    with captured_events() as events:
        call.but(q=call.q * 1e6, k=call.k * 1e6, v=call.v * 1e6).run()
    per_sequence = [f"prefill_{name}_{i}" for i in range(2) for name in ("q_seq", "k_seq", "attn")]
    assert [event.tensor for event in events] == [*per_sequence, "attention_output"]


def test_scores_are_checked_scaled_and_before_the_mask() -> None:
    """A hidden score counts; the -inf of the mask does not."""
    call = prefill_call([2])
    call.q.fill_(100.0)
    call.k[0], call.k[1] = 1.0, 100.0
    with captured_events() as events:
        call.run()
    (event,) = events
    assert (event.tensor, event.nonfinite) == ("prefill_attn_0", False)
    assert event.max == pytest.approx(100.0 * 100.0 * D / D**0.5)
    assert event.min == pytest.approx(100.0 * D / D**0.5)
