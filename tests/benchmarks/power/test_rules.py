"""Other people's rules, as they are: what each accepts and what it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.power.rules import RULES, attend_in_low_precision
from tests.verification.samples import DECODE, PREFILL, one_head, with_numbers
from verification.oracle.expectation import Expectation, expect
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.inputs import make_inputs

BOUND, TWICE, PERCENT, CLOSE = RULES
NAN, INF = float("nan"), float("inf")


def example(dtype: str = "float16") -> tuple[Expectation, Problem, Any]:
    """One row of normal numbers, and its exact output rounded to the dtype."""
    problem = one_head(dtype, queries=1, keys=8, head_dim=16, score_fill="normal", value_fill="normal", seed=1)
    expectation = expect(make_inputs(problem), Precision())
    return expectation, problem, expectation.exact.astype(expectation.roundings.output.numpy)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_exact_output_is_accepted(rule: str, dtype: str) -> None:
    expectation, problem, output = example(dtype)
    assert RULES[rule](output, expectation, problem)


@pytest.mark.parametrize(
    ("rule", "accepted", "rejected"),
    [(BOUND, 1e-4, 2e-3), (TWICE, 1e-4, 2e-2), (PERCENT, 5e-3, 5e-2), (CLOSE, 1e-4, 4e-3)],
)
def test_each_has_its_limit(rule: str, accepted: float, rejected: float) -> None:
    """A relative error of the whole output, before its rounding to float16."""
    expectation, problem, _ = example()
    outputs = [(expectation.exact * (1 + error)).astype(np.float16) for error in (accepted, rejected)]
    assert [RULES[rule](output, expectation, problem) for output in outputs] == [True, False]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("wrong", [NAN, INF])
def test_what_is_not_finite_is_rejected(rule: str, wrong: float) -> None:
    expectation, problem, output = example()
    output = output.copy()
    output.reshape(-1)[3] = wrong
    assert not RULES[rule](output, expectation, problem)


@pytest.mark.parametrize("rule", RULES)
def test_only_the_bound_demands_a_nan(rule: str) -> None:
    """The others have no opinion where the exact value is none."""
    problem = one_head(keys=1)
    expectation = expect(with_numbers(problem, v=[NAN]), Precision())
    assert RULES[rule](np.full((1, 1, 1), NAN, np.float16), expectation, problem)
    assert RULES[rule](np.zeros((1, 1, 1), np.float16), expectation, problem) is (rule != BOUND)


@pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
def test_low_precision_is_attention_in_the_dtype(problem: Problem) -> None:
    """Close to the exact output, and not as close as its rounding."""
    expectation = expect(make_inputs(problem), Precision())
    error = np.abs(attend_in_low_precision(expectation, problem) - expectation.exact).max()
    assert 0 < error < 1e-2


def test_the_defaults_are_torchs() -> None:
    """Where assert_close rejects, so does the rule."""
    expectation, problem, output = example("float32")
    reference = torch.from_numpy(expectation.exact.astype(np.float32))
    for error in np.logspace(-8, -3, 30):
        wrong = (output.astype(np.float64) * (1 + error)).astype(np.float32)
        try:
            torch.testing.assert_close(torch.from_numpy(wrong), reference)
            accepted = True
        except AssertionError:
            accepted = False
        assert RULES[CLOSE](wrong, expectation, problem) is accepted
