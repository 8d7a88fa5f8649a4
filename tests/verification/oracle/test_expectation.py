"""What a right answer looks like: the store, the sequences, the warnings owed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.verification.samples import DECODE, PREFILL, one_head, with_numbers
from verification.oracle.expectation import Expectation, expect, sequences, store
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.inputs import make_inputs

ATTN_CORE = Precision()


def expectation(problem: Problem, precision: Precision = ATTN_CORE) -> Expectation:
    return expect(make_inputs(problem), precision)


def test_the_last_of_equal_slots_is_stored() -> None:
    """In both caches; tokens without a valid slot go nowhere, and nothing else changes."""
    problem = replace(PREFILL, slot_mapping=(3, -1, 3, -2, 8), poison=("nan", "nan"))
    inputs = make_inputs(problem)
    stored = store(inputs)
    for new, cache, before in ((inputs.k, stored.k_cache, inputs.k_cache), (inputs.v, stored.v_cache, inputs.v_cache)):
        expected = before.copy().reshape(8, 1, 4)
        expected[3] = new[2]
        assert cache.tobytes() == expected.tobytes()
    assert np.isnan(inputs.k_cache).all(), "the inputs are left alone"


def test_storing_casts_to_nearest_even() -> None:
    """float32 to float16: 2049 -> 2048, 2051 -> 2052, 1e6 -> Inf, -0 stays."""
    problem = one_head("float32", keys=4, num_blocks=4, slot_mapping=(0, 1, 2, 3), cache_dtype="float16")
    stored = store(with_numbers(problem, k=[2049, 2051, 1e6, -0.0]))
    assert stored.k_cache.ravel().tolist() == [2048, 2052, np.inf, 0]
    assert np.signbit(stored.k_cache.ravel()[3])


def test_nothing_valid_stores_nothing() -> None:
    """The inputs come back themselves."""
    inputs = make_inputs(replace(PREFILL, slot_mapping=(-1,) * 5))
    assert store(inputs) is inputs


def test_prefill_is_cut_at_the_cumulative_lengths() -> None:
    """Rows of the output, keys, and counts by the alignment."""
    first, second = sequences(make_inputs(PREFILL))
    assert (first.rows, second.rows) == (slice(0, 3), slice(3, 4))
    assert (len(first.keys), len(second.keys)) == (3, 2)
    assert (first.counts.tolist(), second.counts.tolist()) == ([1, 2, 3], [1])
    aligned = sequences(make_inputs(replace(PREFILL, causal_alignment="bottom_right")))
    assert aligned[1].counts.tolist() == [2]


def test_decode_gathers_what_it_stored() -> None:
    """Sequence 0 sees the slots 4, 5, 0; the last is this call's token."""
    inputs = make_inputs(DECODE)
    first, second = sequences(store(inputs))
    assert np.array_equal(first.keys[2], inputs.k[0])
    assert np.array_equal(first.values[:2], inputs.v_cache[2])
    assert (first.counts.tolist(), second.counts.tolist()) == ([3], [2])


@pytest.mark.parametrize(
    ("problem", "names"),
    [
        (PREFILL, ["prefill_q_seq_0", "prefill_k_seq_0", "prefill_attn_0", "prefill_q_seq_1", "prefill_k_seq_1"]),
        (DECODE, ["decode_q", "decode_k_history_0", "decode_k_history_1"]),
    ],
)
def test_every_check_of_the_contract_is_predicted(problem: Problem, names: list[str]) -> None:
    """By name, and nothing is owed for tame numbers."""
    predictions = expectation(problem).predictions
    assert {*names, "attention_output"} <= {p.tensor for p in predictions}
    assert not any(p.owed for p in predictions)


def test_dropped_slots_and_blocks_are_counted() -> None:
    """-1 is padding in slots; in a table it is a block that is not there."""
    slots = expectation(replace(PREFILL, slot_mapping=(-1, -2, 8, 7, 2**40))).predictions
    assert [(p.tensor, p.dropped) for p in slots if p.dropped] == [("slot_mapping", 3)]
    tables = expectation(replace(DECODE, key_lens=(3, 9), block_tables=((2, 4), (1, -1)))).predictions
    assert [(p.tensor, p.dropped) for p in tables if p.dropped] == [("block_tables[0]", 1), ("block_tables[1]", 7)]


def test_before_rounding_leaves_out_the_last_rounding() -> None:
    """One key: nothing but the last rounding can go far wrong."""
    found = expect(with_numbers(one_head(), q=[1], k=[1], v=[1]), Precision())
    assert 0 < found.before_rounding.item() < 0.01 * found.bound.item()


def test_float64_is_judged_in_float64() -> None:
    """The bound is about 1e-16, not 1e-7."""
    found = expect(with_numbers(one_head("float64"), q=[1], k=[1], v=[1]), Precision())
    assert 1e-16 < found.bound.item() < 1e-14
