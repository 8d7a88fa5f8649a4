"""Backends that promise less meet problems, and laws, that ask for less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.laws import LAWS
from properties.laws.agreement import visible_nan_appears
from properties.laws.law import OutsideLaw
from properties.run.round import fuzz
from verification.backends.dense import DenseBackend
from verification.backends.kernels import cpu_kernels
from verification.backends.protocol import Call
from verification.problem import Problem
from verification.tensors.materialize import Tensors

FLASH = next(backend for backend in cpu_kernels() if backend.name == "sdpa/flash")
BY_NAME = {law.name: law for law in LAWS}


class Watched(DenseBackend):
    """Keeps the problem of every call."""

    seen: list[Problem]

    def prepare(self, problem: Problem) -> Call:
        call = super().prepare(problem)

        def watched(tensors: Tensors) -> object:
            self.seen.append(problem)
            return call(tensors)

        return watched  # type: ignore[return-value]


def watched(**contract: object) -> Watched:
    backend = Watched("watched", FLASH.dense, replace(FLASH.contract, **contract), FLASH.precision)  # type: ignore[arg-type]
    object.__setattr__(backend, "seen", [])
    return backend


def test_only_plain_problems_of_its_head_dims() -> None:
    backend = watched(head_dims=(3, 16))
    _, broken, _ = fuzz(BY_NAME["agrees_with_reference"], backend, "float16", 1, examples=80)
    assert broken is None
    assert {problem.head_dim for problem in backend.seen} == {3, 16}
    assert not any(problem.specials or problem.cache_dtype for problem in backend.seen)


def test_no_promise_about_nan_no_law_about_it() -> None:
    backend = watched()
    with pytest.raises(OutsideLaw):
        visible_nan_appears(backend, Problem("prefill", "float16", 1, 1, 1, (1,), (1,)))
    result, _, _ = fuzz(BY_NAME["visible_nan_appears"], backend, "float16", 1, examples=20)
    assert result.outside == 20
    assert not backend.seen


def test_its_future_is_finite() -> None:
    """And so are its scores; poison that nobody sees may be NaN."""
    _, broken, _ = fuzz(BY_NAME["the_future_does_not_matter"], watched(), "float16", 1, examples=80)
    assert broken is None


def test_every_law_holds_for_a_kernel() -> None:
    """Within its contract: a dense kernel is a backend like any other."""
    for law in LAWS:
        if law.asks(FLASH):
            result, broken, _ = fuzz(law, FLASH, "bfloat16", 3, examples=25)
            assert broken is None, (law.name, broken)
            assert result.problems
