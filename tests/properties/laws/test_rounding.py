"""Errors to one side, each smaller than any tolerance, and the chance that honest ones look like that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from properties.laws.agreement import agrees_with_reference
from properties.laws.law import OutsideLaw
from properties.laws.rounding import rounds_to_either_side
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import DECODE, PREFILL
from verification.oracle.judge import Violation
from verification.problem import Problem
from verification.tensors.materialize import Tensors

LARGE_PREFILL, LARGE_DECODE = (replace(problem, head_dim=64, num_heads=8) for problem in (PREFILL, DECODE))
CASES = pytest.mark.parametrize("problem", [LARGE_PREFILL, LARGE_DECODE], ids=["prefill", "decode"])


def every_other(step: Callable[[Tensor], Tensor]) -> Wrapped:
    """One unit in the last place away, on every other element: half a unit on average."""

    def tamper(tensors: Tensors, output: Tensor) -> Tensor:  # noqa: ARG001
        flat = output.flatten()
        bits = flat.view(torch.int16)
        moved = bits + (step(flat) * (torch.arange(len(flat)) % 2)).to(torch.int16)
        return moved.view(output.dtype).view(output.shape)

    return Wrapped(tamper)


# Bits of a float16 count magnitudes.
SIDES = {
    "towards 0": every_other(lambda x: -torch.ones_like(x)),
    "away from 0": every_other(torch.ones_like),
    "down": every_other(lambda x: -x.sign()),
    "up": every_other(torch.sign),
}


@CASES
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_honest_errors_are_on_either_side(problem: Problem, dtype: str) -> None:
    """Whatever the numbers."""
    for seed in range(20):
        assert 0 < rounds_to_either_side(HONEST, replace(problem, dtype=dtype, seed=seed)).ratio < 1


@CASES
@pytest.mark.parametrize("side", SIDES)
def test_one_side_is_seen(problem: Problem, side: str) -> None:
    """Half a unit is the mean of a truncation."""
    with pytest.raises(Violation, match="ulp"):
        rounds_to_either_side(SIDES[side], problem)


def test_rounding_to_the_next_but_one_is_on_either_side() -> None:
    """Large errors without a side are another law's."""
    both = every_other(lambda x: 2.0 * (torch.arange(len(x)) % 4 // 2) - 1)
    rounds_to_either_side(both, LARGE_PREFILL)
    with pytest.raises(Violation):
        agrees_with_reference(both, LARGE_PREFILL)


@pytest.mark.parametrize(
    "problem",
    [
        replace(PREFILL, head_dim=1, num_heads=1),
        DECODE,
        replace(LARGE_PREFILL, dtype="float32"),
        replace(DECODE, key_lens=(1, 1)),
    ],
    ids=["few numbers", "few rows", "errors of many units", "one key"],
)
def test_nothing_is_said_of(problem: Problem) -> None:
    """Too few for a mean, or errors that may be larger than what is looked for."""
    with pytest.raises(OutsideLaw):
        rounds_to_either_side(HONEST, problem)
