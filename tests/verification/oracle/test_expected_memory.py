"""What the arena holds after a right call: what it held, but for the slots that were written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from properties.generate.strategies import problems
from tests.properties.generated import over
from tests.verification.samples import DECODE, PREFILL
from verification.oracle.expectation import expected_memory, store
from verification.problem import Problem
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import materialize


@pytest.mark.parametrize("cache_layout", ["contiguous", "interleaved", "transposed"])
@pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
def test_written_slots_and_nothing_else(problem: Problem, cache_layout: str) -> None:
    """Slot by slot, against the contract's words; every other byte of the arena is as before."""
    problem = replace(problem, cache_layout=cache_layout, poison=("nan", "large"))  # type: ignore[arg-type]
    inputs = make_inputs(problem)
    arena = materialize(inputs, "cpu")
    after = expected_memory(arena, store(inputs))
    for name, new in (("k_cache", inputs.k), ("v_cache", inputs.v)):
        cache = arena.spans[name].on_host(after).reshape(-1, *new.shape[1:])
        before = arena.spans[name].on_host(arena.before).reshape(-1, *new.shape[1:])
        written = {slot: token for token, slot in enumerate(problem.slot_mapping) if slot >= 0}
        for slot in range(problem.num_slots):
            expected = new[written[slot]] if slot in written else before[slot]
            assert cache[slot].tobytes() == expected.tobytes()
        arena.spans[name].on_host(after)[...] = arena.spans[name].on_host(arena.before)
    assert np.array_equal(after, arena.before)


@over(100, problems("float32"))
def test_a_call_that_stores_nothing_changes_nothing(problem: Problem) -> None:
    """And `before` is left alone whatever is stored."""
    inputs = make_inputs(problem)
    arena = materialize(inputs, "cpu")
    assert np.array_equal(expected_memory(arena, inputs), arena.before)
    expected_memory(arena, store(inputs))
    assert np.array_equal(arena.before, arena.tensors.arena.numpy())
