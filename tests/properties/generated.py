"""Generated problems for tests: the project's own strategy under its own profile, from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import given, seed, settings
from hypothesis.strategies import SearchStrategy

from properties.generate.profile import PROFILE, own_draws
from properties.generate.strategies import problems
from verification.problem import Problem

Test = Callable[..., None]
SEED = 20240607


def over(examples: int, *strategies: SearchStrategy[Any], base_seed: int = SEED) -> Callable[[Test], Test]:
    """Run a test on ``examples`` draws of ``strategies``; the same ones every time."""

    def decorate(test: Test) -> Test:
        profile = settings(settings.get_profile(PROFILE), max_examples=examples)
        decorated: Test = own_draws()(seed(base_seed)(profile(given(*strategies)(test))))
        return decorated

    return decorate


@cache
def generated(
    dtype: str, examples: int, phases: tuple[str, ...] = ("prefill", "decode"), base_seed: int = SEED
) -> tuple[Problem, ...]:
    """A list of problems, for tests that count."""
    found: list[Problem] = []

    def collect(problem: Problem) -> None:
        found.append(problem)

    over(examples, problems(dtype, phases), base_seed=base_seed)(collect)()
    return tuple(found)
