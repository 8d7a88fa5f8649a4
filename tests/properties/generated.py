"""Generated problems for tests: the project's own strategy under its own profile, from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import given, seed, settings
from hypothesis.strategies import SearchStrategy

from properties.run import PROFILE
from properties.strategies import problems
from verification.problem import Problem

Test = Callable[..., None]


def over(examples: int, *strategies: SearchStrategy[Any]) -> Callable[[Test], Test]:
    """Run a test on ``examples`` draws of ``strategies``; the same ones every time."""

    def decorate(test: Test) -> Test:
        profile = settings(settings.get_profile(PROFILE), max_examples=examples)
        decorated: Test = seed(20240607)(profile(given(*strategies)(test)))
        return decorated

    return decorate


@cache
def generated(dtype: str, examples: int, phases: tuple[str, ...] = ("prefill", "decode")) -> tuple[Problem, ...]:
    """A list of problems, for tests that count."""
    found: list[Problem] = []

    def collect(problem: Problem) -> None:
        found.append(problem)

    over(examples, problems(dtype, phases))(collect)()
    return tuple(found)
