"""What is made of a problem is made once while it is shared, and only what is made of that very problem."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.properties.wrapped import HONEST
from tests.verification.samples import PREFILL
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Wrapped
from verification.tensors.inputs import make_inputs
from verification.tensors.shared import Shared, sharing


def test_a_shared_problem_is_made_once() -> None:
    """Also by the next law, which wraps the backend as it likes."""
    shared = Shared(PREFILL, HONEST)
    with sharing(shared):
        inputs = make_inputs(PREFILL)
        answer, right = observe(Wrapped(HONEST), inputs), expected_from(Wrapped(HONEST), inputs)
    with sharing(shared):
        assert make_inputs(PREFILL) is inputs
        assert observe(Wrapped(HONEST), inputs) is answer
        assert expected_from(Wrapped(HONEST), inputs) is right
    assert make_inputs(PREFILL) is not inputs
    assert observe(HONEST, inputs) is not answer


def test_another_question_is_made_for_itself() -> None:
    """Of an equal problem, of other numbers, and of another backend."""
    with sharing(Shared(PREFILL, HONEST)):
        inputs = make_inputs(PREFILL)
        answer, right = observe(HONEST, inputs), expected_from(HONEST, inputs)
        assert make_inputs(replace(PREFILL)) is not inputs
        assert observe(HONEST, replace(inputs, q=inputs.q + 1)) is not answer
        assert observe(replace(HONEST), inputs) is not answer
        assert expected_from(replace(HONEST), inputs) is not right


def test_an_error_of_the_harness_is_not_kept() -> None:
    """The next law meets it itself."""

    class Broken(Wrapped):
        def prepare(self, problem: object) -> None:  # type: ignore[override]
            raise LookupError(problem)

    broken = Broken(HONEST)
    with sharing(Shared(PREFILL, broken)) as _:
        for _ in range(2):
            with pytest.raises(LookupError):
                observe(broken, make_inputs(PREFILL))


def test_what_is_kept_holds_no_memory_of_the_device() -> None:
    """Its bytes, before and after the call, lie on the host."""
    with sharing(Shared(PREFILL, HONEST)):
        answer = observe(HONEST, make_inputs(PREFILL))
    assert answer.arena.tensors.arena.numel() == 0
    assert len(answer.memory) == len(answer.arena.before) > 0
