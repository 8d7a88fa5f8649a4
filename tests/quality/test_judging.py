"""The judge sees one wrong number among right ones: an honest answer is spoiled in a single element."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from properties.laws.agreement import agrees_with_reference
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import one_head
from verification.oracle.judge import Violation
from verification.problem import Numbers, Problem
from verification.problem.formats import FORMATS
from verification.tensors.materialize import Tensors

INF, NAN = float("inf"), float("nan")


def spoiled(change: Callable[[Tensor], Tensor]) -> Wrapped:
    """The last element of every output is changed."""

    def after(_: Tensors, output: Tensor) -> Tensor:
        output = output.clone()
        output.view(-1)[-1] = change(output.view(-1)[-1])
        return output

    return Wrapped(after=after)


def sample(dtype: str, values: str) -> Problem:
    return one_head(dtype, queries=4, keys=6, head_dim=16, score_fill="normal", value_fill=values, seed=3)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("values", ["normal", "huge", "tiny", "zeros"])
@pytest.mark.parametrize("wrong", [NAN, INF, -INF])
def test_what_is_not_finite_is_seen(dtype: str, values: str, wrong: float) -> None:
    """However wide the bound; the same output as it was passes."""
    agrees_with_reference(HONEST, sample(dtype, values))
    with pytest.raises(Violation):
        agrees_with_reference(spoiled(lambda x: torch.full_like(x, wrong)), sample(dtype, values))


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_sign_of_zero_is_no_error(dtype: str) -> None:
    """-0 equals 0."""
    agrees_with_reference(spoiled(torch.neg), sample(dtype, "zeros"))


@pytest.mark.parametrize("dtype", FORMATS)
def test_the_sign_of_anything_else_is(dtype: str) -> None:
    """Also of a subnormal."""
    for values in ("normal", "huge", "tiny"):
        with pytest.raises(Violation):
            agrees_with_reference(spoiled(torch.neg), sample(dtype, values))


def test_float16_subnormals_that_are_flushed_are_seen() -> None:
    """They are ordinary numbers to a float32 accumulator. The first row of a prefill is the first value."""
    values = [2.0**-20, 2.0**-16, 2.0**-15]
    problem = one_head("float16", keys=1, head_dim=3, value_fill="ones")
    tiny = replace(problem, numbers=(Numbers("v", tuple(values)),))
    agrees_with_reference(HONEST, tiny)
    with pytest.raises(Violation):
        agrees_with_reference(spoiled(torch.zeros_like), tiny)
