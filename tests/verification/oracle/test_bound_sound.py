"""Honest low-precision attention is within the bound of what it rounds; a planted error is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis.strategies import booleans

from properties.generate.strategies import problems
from tests.properties.generated import over
from tests.verification.samples import one_head
from tests.verification.simulated import simulate
from verification.oracle.expectation import Expectation, expect
from verification.oracle.judge import error_ratios
from verification.oracle.precision import INPUT, Precision
from verification.problem import Problem
from verification.problem.describe import describe
from verification.tensors.inputs import make_inputs

PLAIN, FLASH = Precision(), Precision(probabilities=INPUT)
PROFILES = {
    "plain": PLAIN,
    "flash": FLASH,
    "truncating": Precision(probabilities=INPUT, truncating=True),
    "scaled query": Precision(scaled_query=True),
    "all": Precision(scores=INPUT, probabilities=INPUT, scaled_query=True, rounded_scale=True, truncating=True),
    "everything in the input's format": Precision(INPUT, INPUT, INPUT),
    "rounded weights summed": Precision(probabilities=INPUT, weights_summed="after"),
    "parts merged by a quotient": Precision(probabilities=INPUT, partials=INPUT, truncating=True),
    "parts merged by lse": Precision(partials="float32", merge="lse"),
    "narrow parts merged by lse": Precision(probabilities=INPUT, weights_summed="after", partials=INPUT, merge="lse"),
}


def affordable(problem: Problem) -> bool:
    """The simulation loops over keys and dims."""
    return problem.num_queries > 0 and max(problem.key_lens) <= 300


def decent(dtype: str, seed: int, **changes: object) -> Expectation:
    """Scores and values of about 1, 32 keys: what a planted error has to be seen in."""
    problem = replace(
        one_head(dtype, queries=8, keys=32, head_dim=16, score_fill="normal", value_fill="normal"), seed=seed
    )
    return expect(make_inputs(replace(problem, **changes)), PLAIN)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("profile", PROFILES)
def test_honest_answers_score_at_most_one(dtype: str, profile: str) -> None:
    """In any order of summation, divided before or after."""

    @over(60, problems(dtype, plain=True).filter(affordable), booleans(), booleans())
    def check(problem: Problem, reverse: bool, late: bool) -> None:
        expectation = expect(make_inputs(problem), PROFILES[profile])
        output = simulate(expectation, problem.scale, reverse=reverse, late_division=late)
        assert error_ratios(output, expectation).max() <= 1, describe(problem)

    check()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_bound_is_nearly_attained(dtype: str) -> None:
    """A bound ten times too wide is a defect: an honest answer comes within a tenth of it."""
    worst = max(error_ratios(simulate(e, 0.25), e).max() for e in (decent(dtype, seed) for seed in range(20)))
    assert 0.9 < worst <= 1


@pytest.mark.parametrize("error", [1e-3, -1e-3])
def test_an_error_in_the_scale_is_seen(error: float) -> None:
    """One in a thousand, in float16, on nearly every problem with scores of some size."""
    caught = [error_ratios(simulate(e, 0.25 * (1 + error)), e).max() > 1 for e in steep_expectations()]
    assert np.mean(caught) > 0.9
    assert not any(error_ratios(simulate(e, 0.25), e).max() > 1 for e in steep_expectations())


def steep_expectations() -> list[Expectation]:
    """Scores of about +-20."""
    found = []
    for seed in range(10):
        inputs = make_inputs(replace(one_head(queries=8, keys=32, head_dim=16, score_fill="normal"), seed=seed))
        inputs = replace(inputs, q=inputs.q * np.float16(8), v=inputs.k)
        found.append(expect(inputs, PLAIN))
    return found


@pytest.mark.parametrize(("dtype", "seen"), [("float16", 1e-3), ("bfloat16", 8e-3), ("float32", 1e-4)])
def test_an_error_in_the_output_is_seen(dtype: str, seen: float) -> None:
    """Of two unit roundoffs in the narrow formats."""
    expectation = decent(dtype, 3)
    honest = simulate(expectation, 0.25)
    wrong = (honest.astype(np.float64) * (1 + seen)).astype(honest.dtype)
    assert error_ratios(honest, expectation).max() <= 1 < error_ratios(wrong, expectation).max()


def test_weights_kept_in_float16_are_seen() -> None:
    """A flash kernel needs a profile that allows for it: under attn_core's it is out of bound."""
    flash = FLASH.resolve("float16")
    worst = [error_ratios(simulate(replace(e, roundings=flash), 0.25), e).max() for e in steep_expectations()]
    assert max(worst) > 1


def test_scores_kept_in_float16_are_seen() -> None:
    """An eager run in the input's format is far beyond the bound of one that keeps float32."""
    for expectation in steep_expectations()[:3]:
        eager = replace(expectation, roundings=Precision(scores=INPUT).resolve("float16"))
        assert error_ratios(simulate(eager, 0.25), expectation).max() > 3
