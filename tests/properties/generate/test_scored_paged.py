"""Kernels with paged caches of their own under a window, a softcap, slopes and sinks: what is wrong is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.run.round import fuzz
from tests.properties.generated import over
from tests.verification.paged_kernel import Scored
from verification.problem import Problem
from verification.problem.validate import is_valid
from verification.tensors.materialize import Tensors

AGREES = next(law for law in LAWS if law.name == "agrees_with_reference")


class Right(Scored):
    wrong = 0.0


class Deaf(Right):
    """Does something else than the problem says."""

    def __init__(self, **instead: Any) -> None:
        self._instead = instead

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        instead = {name: value for name, value in self._instead.items() if getattr(problem.scoring, name, None)}
        tensors = replace(tensors, sinks=None) if "sinks" in instead else tensors
        if "window" in instead:
            instead["window"] += problem.scoring.window
        return super().attend(replace(problem, scoring=replace(problem.scoring, **instead)), tensors)


@pytest.mark.parametrize("law", [law for law in LAWS if law.asks(Right())], ids=lambda law: law.name)
def test_an_honest_kernel_passes(law: Any) -> None:
    result, broken, _ = fuzz(law, Right(), "float16", 1, 12)
    assert broken is None, result.failure


@pytest.mark.parametrize(
    "instead",
    [
        {"window": 1},
        pytest.param({"window": -1}, marks=pytest.mark.slow),
        {"softcap": 0.0},
        {"alibi": False},
        {"sinks": False},
        pytest.param({"scale": None}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_deaf_one_is_found(instead: dict[str, Any]) -> None:
    """And made small, with nothing in force but what it ignores."""
    _, broken, _ = fuzz(AGREES, Deaf(**instead), "float16", 1, 150)
    assert broken is not None
    assert broken.problem.num_tokens <= 12
    [feature] = broken.problem.scoring.features
    assert feature.removeprefix("odd_") in instead


def test_every_phase_has_every_feature() -> None:
    """Valid problems, of which most have none."""
    drawn: list[Problem] = []

    @over(600, problems_within(Scored.contract, "float16"))
    def check(problem: Problem) -> None:
        assert is_valid(problem)
        drawn.append(problem)

    check()
    for phase in Scored.contract.phases:
        having = [problem.scoring.features for problem in drawn if problem.phase == phase]
        assert frozenset().union(*having) == Scored.contract.scoring
        assert 0.2 < sum(not features for features in having) / len(having) < 0.8
