"""Contexts of 32,768 keys, each as visible as any other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import Tensor

from properties.laws.law import OutsideLaw
from properties.laws.length import LONG, long_contexts_average
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import DECODE, PREFILL
from verification.backends.protocol import Call
from verification.oracle.judge import Violation
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.tensors.materialize import Tensors

CASES = pytest.mark.parametrize(
    "problem",
    [replace(p, value_fill="normal", numbers=(), specials=(), cache_dtype="") for p in (PREFILL, DECODE)],
    ids=["prefill", "decode"],
)


def forgets_half(call: Call) -> Call:
    """A table that is too short for so many."""

    def forgetful(tensors: Tensors) -> Tensor:
        if tensors.context_lens is not None and len(tensors.context_lens):
            tensors.context_lens.clamp_(max=LONG // 2)
        else:
            tensors.v[LONG // 2 :] = 0
        return call(tensors)

    return forgetful


@CASES
@pytest.mark.parametrize("dtype", FORMATS)
def test_an_honest_sum_is_long_enough(problem: Problem, dtype: str) -> None:
    """And says how near the bound it came."""
    score = long_contexts_average(HONEST, replace(problem, dtype=dtype)).ratio
    assert score < 1
    assert score > 0 or dtype == "float64"  # which the reference sums in too


@CASES
def test_half_of_them_are_missed(problem: Problem) -> None:
    """By whoever ends early; numbers of either sign have another mean then."""
    with pytest.raises(Violation, match="out of bound"):
        long_contexts_average(Wrapped(around=forgets_half), replace(problem, dtype="float32"))


def test_it_asks_within_the_contract() -> None:
    """A head_dim that there is; and where the one query is the first, it sees one key."""
    seen: list[Problem] = []

    class Watched(Wrapped):
        def prepare(self, problem: Problem) -> Call:
            seen.append(problem)
            return super().prepare(problem)

    long_contexts_average(Watched(contract=replace(HONEST.contract, head_dims=(16, 64))), PREFILL)
    assert (seen[0].head_dim, seen[0].key_lens, seen[0].causal_alignment) == (16, (LONG,), "bottom_right")
    with pytest.raises(OutsideLaw):
        long_contexts_average(Watched(contract=replace(HONEST.contract, alignments=("top_left",))), PREFILL)
