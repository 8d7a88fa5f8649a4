"""Laws against the reference: what each sees, and what it says nothing about."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from properties.laws.agreement import (
    agrees_with_reference,
    finite_stays_finite,
    logs_what_is_owed,
    stays_in_convex_hull,
    visible_nan_appears,
)
from properties.laws.law import OutsideLaw
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.backends.captured_events import RANGE_LOG
from verification.backends.protocol import Call
from verification.oracle.judge import Violation
from verification.problem import Problem, Special
from verification.tensors.materialize import Tensors

BOTH = pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
Tamper = Callable[[Tensors, Tensor], Tensor]


def first(value: float) -> Tamper:
    """The first element replaced."""

    def tamper(_: Tensors, output: Tensor) -> Tensor:
        output = output.clone()
        output.view(-1)[0] = value
        return output

    return tamper


@BOTH
@pytest.mark.parametrize(
    "law", [agrees_with_reference, finite_stays_finite, stays_in_convex_hull, logs_what_is_owed, visible_nan_appears]
)
def test_the_honest_module_keeps_them(law: Callable[..., object], problem: Problem) -> None:
    """On ordinary problems."""
    law(HONEST, problem)


@BOTH
@pytest.mark.parametrize("factor", [1.01, 0.99, -1.0])
def test_a_wrong_number_disagrees(problem: Problem, factor: float) -> None:
    """By one in a hundred, and by a sign."""
    with pytest.raises(Violation, match="out of bound"):
        agrees_with_reference(Wrapped(lambda _, output: output * factor), problem)


def test_the_score_is_the_largest_of_all_elements() -> None:
    """Of an honest answer: more than nothing, and at most 1."""
    assert 0 < agrees_with_reference(HONEST, PREFILL).ratio <= 1


@BOTH
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_finite_must_stay_finite(problem: Problem, value: float) -> None:
    """Where the exact result is."""
    with pytest.raises(Violation, match="not finite"):
        finite_stays_finite(Wrapped(first(value)), problem)


def test_only_finiteness_is_its_business() -> None:
    """A wrong number is another law's."""
    finite_stays_finite(Wrapped(first(1234.0)), PREFILL)


def test_nan_is_no_concern_where_nan_is_exact() -> None:
    """A NaN in q makes its row NaN."""
    finite_stays_finite(HONEST, replace(PREFILL, specials=(Special("q", 0, 0, 0, "nan"),)))


@BOTH
def test_a_hidden_nan_is_seen(problem: Problem) -> None:
    """nan_to_num over the output."""
    with pytest.raises(Violation, match="out of bound"):
        visible_nan_appears(Wrapped(lambda _, output: output.nan_to_num()), problem)


@BOTH
def test_a_nan_that_spreads_is_seen(problem: Problem) -> None:
    """From its row or column to everything."""
    spread = Wrapped(lambda _, output: output + 0 * output.sum())
    with pytest.raises(Violation, match="out of bound"):
        visible_nan_appears(spread, replace(problem, num_kv_heads=2))


@pytest.mark.parametrize(
    "problem", [one_head(keys=0), replace(DECODE, key_lens=(0, 0)), replace(DECODE, key_lens=(0, 1))]
)
def test_no_key_to_plant_a_nan_in(problem: Problem) -> None:
    """Empty contexts, or only what this call stores."""
    if sum(problem.key_lens) == 1:
        problem = replace(problem, slot_mapping=(-1, 2))
    with pytest.raises(OutsideLaw):
        visible_nan_appears(HONEST, problem)


@BOTH
@pytest.mark.parametrize("shift", [4.0, -4.0])
def test_a_mean_lies_between(problem: Problem, shift: float) -> None:
    """The smallest and the largest value."""
    with pytest.raises(Violation, match="hull"):
        stays_in_convex_hull(Wrapped(lambda _, output: output + shift), problem)


def test_the_hull_of_ones_is_one() -> None:
    """Up to the last rounding: two units are outside."""
    problem = one_head(keys=5)
    stays_in_convex_hull(HONEST, problem)
    with pytest.raises(Violation, match="hull"):
        stays_in_convex_hull(Wrapped(lambda _, output: output + 2**-9), problem)


def test_a_row_that_sees_nothing_is_zero() -> None:
    """Its hull is 0 alone."""
    problem = one_head(queries=2, keys=1)
    with pytest.raises(Violation, match="hull"):
        stays_in_convex_hull(Wrapped(first(0.001)), problem)


def test_nan_is_outside_every_hull() -> None:
    """Not a comparison that is False. What is shown beside it is a number."""
    with pytest.raises(Violation, match="hull") as broken:
        stays_in_convex_hull(Wrapped(first(float("nan"))), PREFILL)
    assert broken.value.difference is not None
    assert math.isfinite(broken.value.difference.worst.exact)


LOUD = one_head(queries=2, keys=2, score_fill="negative", head_dim=4)


def silent(call: Call) -> Call:
    """Logs nothing."""

    def quiet(tensors: Tensors) -> Tensor:
        logger = logging.getLogger(RANGE_LOG)
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            return call(tensors)
        finally:
            logger.setLevel(level)

    return quiet


def test_missing_and_extra_warnings() -> None:
    """Silence where one is owed, noise where none is."""
    logs_what_is_owed(HONEST, LOUD)
    with pytest.raises(Violation):
        logs_what_is_owed(Wrapped(around=silent), LOUD)

    def noisy(_: Tensors, output: Tensor) -> Tensor:
        extra = {"tensor": "prefill_q_seq_0", "max": 2e4, "min": 0.0, "nonfinite": False}
        logging.getLogger(RANGE_LOG).warning("overflow", extra=extra)
        return output

    with pytest.raises(Violation, match="prefill_q_seq_0"):
        logs_what_is_owed(Wrapped(noisy), PREFILL)


def test_a_backend_that_logs_nothing_by_contract() -> None:
    """The law says nothing of it."""
    quiet = replace(HONEST.contract, range_events=False)
    with pytest.raises(OutsideLaw):
        logs_what_is_owed(Wrapped(contract=quiet), LOUD)


@pytest.mark.parametrize(
    "law", [agrees_with_reference, finite_stays_finite, stays_in_convex_hull, logs_what_is_owed, visible_nan_appears]
)
def test_an_error_is_a_violation(law: Callable[..., object]) -> None:
    """Of a call that had to succeed; and so is an output of another type."""

    def fail(_: Tensors, output: Tensor) -> Tensor:
        raise RuntimeError(f"out of memory at {tuple(output.shape)}")

    with pytest.raises(Violation, match="out of memory"):
        law(Wrapped(fail), PREFILL)
    with pytest.raises(Violation, match="float32"):
        law(Wrapped(lambda _, output: output.to(torch.float32)), PREFILL)
