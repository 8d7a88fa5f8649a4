"""Memory is looked at once more, some time after a call has returned, and what has changed by then is told."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest

from tests.verification.late import HONEST, IN_A_GUARD, LATER, SOON, Late
from tests.verification.samples import DECODE, PREFILL
from verification.backends.late import watching
from verification.backends.observe import observe, observe_call
from verification.oracle.violation import LateWrite
from verification.problem import Problem
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import materialize
from verification.tensors.second_look import LINGER


def _told(backend: Late, problem: Problem = DECODE) -> str:
    with watching(lambda: None) as watch:
        observe(backend, make_inputs(problem))
        with pytest.raises(LateWrite) as caught:
            watch.wait()
    assert caught.value.problem == problem
    return str(caught.value)


@pytest.mark.parametrize("problem", [DECODE, PREFILL], ids=["decode", "prefill"])
@pytest.mark.parametrize("backend", [SOON, LATER], ids=["5 ms", "20 ms"])
def test_a_thread_that_writes_later_is_told(backend: Late, problem: Problem) -> None:
    """With the place, and what it held when the call returned."""
    assert _told(backend, problem).startswith("memory was written after the call had returned: v_cache[0] holds")


def test_a_byte_of_no_tensor_is_told() -> None:
    """As a guard."""
    assert "1 guard bytes written" in _told(IN_A_GUARD)


def test_who_writes_no_more_is_not_told() -> None:
    """Nor is a call that is looked at before it is old enough, nor one that is made again on the same memory."""
    with watching(lambda: None) as watch:
        arena = materialize(make_inputs(DECODE), "cpu")
        call = HONEST.prepare(DECODE)
        for _ in range(3):
            observe_call(call, arena)
            watch.look()
        watch.wait()
        watch.wait()


def test_memory_that_is_used_again_is_looked_at_before() -> None:
    """The second call of the same memory may write what it likes; what changed before it is told."""
    with watching(lambda: None) as watch:
        arena = materialize(make_inputs(DECODE), "cpu")
        call = SOON.prepare(DECODE)
        observe_call(call, arena)
        time.sleep(LINGER)
        observe_call(HONEST.prepare(DECODE), arena)
        with pytest.raises(LateWrite):
            watch.look()


@pytest.mark.parametrize("backend", [HONEST, LATER], ids=["honest", "20 ms"])
def test_the_problem_that_was_asked_is_named(backend: Late) -> None:
    """Many calls later, without a wait."""
    asked = [PREFILL, DECODE, PREFILL, DECODE]
    with watching(lambda: None) as watch:
        for problem in asked:
            watch.problem = problem
            observe(backend, make_inputs(problem))
        time.sleep(2 * LINGER)
        with pytest.raises(LateWrite) if backend is LATER else nullcontext() as caught:
            watch.look()
    if backend is LATER:
        assert caught is not None
        assert caught.value.problem == PREFILL
