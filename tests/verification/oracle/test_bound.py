"""The bound, by its own properties: monotone, capped by convexity, 0 or inf where it must be."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis.strategies import sampled_from

from properties.generate.strategies import problems
from tests.properties.generated import over
from tests.verification.samples import one_head, with_numbers
from verification.oracle.bound import gamma, hull_rounding
from verification.oracle.expectation import Expectation, expect
from verification.oracle.precision import INPUT, Precision
from verification.problem import Problem
from verification.tensors.inputs import Inputs, make_inputs

ATTN_CORE = Precision()
# Each may round all that the one before it may, and something more.
WEAKENING = (
    Precision("float64", "float64", "float64", "float64"),
    Precision(output="float64"),
    ATTN_CORE,
    Precision(truncating=True),
    Precision(truncating=True, probabilities=INPUT),
    Precision(truncating=True, probabilities=INPUT, scaled_query=True),
    Precision(truncating=True, probabilities=INPUT, scaled_query=True, scores=INPUT),
)


def expectation(inputs: Inputs, precision: Precision = ATTN_CORE) -> Expectation:
    """Where an overflow is part of the test."""
    with np.errstate(all="ignore"):
        return expect(inputs, precision)


def bounds(problem: Problem, precision: Precision = ATTN_CORE, **arrays: Any) -> list[float]:
    """Flat."""
    return expectation(with_numbers(problem, **arrays), precision).bound.ravel().tolist()


@over(60, sampled_from(("float16", "bfloat16")).flatmap(lambda dtype: problems(dtype, plain=True)))
def test_a_weaker_profile_has_a_larger_bound(problem: Problem) -> None:
    """Element by element."""
    inputs = make_inputs(problem)
    for strong, weak in pairwise(expectation(inputs, precision).bound for precision in WEAKENING):
        assert (strong <= weak).all()


@over(150, sampled_from(("float16", "bfloat16", "float32")).flatmap(lambda dtype: problems(dtype, plain=True)))
def test_the_bound_is_never_above_the_hull(problem: Problem) -> None:
    """bound <= (max v - min v) + rounding of a weighted mean, wherever the sums cannot overflow."""
    weakest = expectation(make_inputs(problem), WEAKENING[-1])
    group = problem.num_heads // problem.num_kv_heads
    for sequence, attended in weakest.sequences:
        values = np.repeat(sequence.values.astype(np.float64), group, axis=1)
        for a, count in enumerate(sequence.counts):
            bound = attended.bound[:, a]
            if count == 0:
                assert (bound == 0).all()
                continue
            high, low = values[:count].max(axis=0), values[:count].min(axis=0)
            r = weakest.roundings
            rounding = hull_rounding(count, r) * np.maximum(np.abs(high), np.abs(low))
            tiny = r.output.smallest_subnormal + 2 * count * r.accumulate.smallest_subnormal
            cap = high - low + rounding + tiny
            assert ((bound <= cap * (1 + 1e-12)) | np.isinf(bound)).all()


@over(150, sampled_from(("float16", "bfloat16", "float32", "float64")).flatmap(problems))
def test_a_bound_is_never_negative_nor_nan(problem: Problem) -> None:
    """And 0 wherever NaN or Inf is demanded of a finite format."""
    found = expectation(make_inputs(problem))
    assert (found.bound >= 0).all()
    assert (np.isinf(found.bound) | (found.bound == 0) | np.isfinite(found.exact)).all()


def test_useless_scores_leave_the_hull() -> None:
    """H >= 1: scores of 2^20 kept in bfloat16 may be off by thousands; the output still is a mean of 1 and 3."""
    [bound] = bounds(one_head("float32", keys=2), Precision(scores="bfloat16"), q=[2**10], k=[2**10, 2**10], v=[1, 3])
    assert bound == pytest.approx(2, rel=1e-5)
    assert bound > 2


def test_equal_values_have_a_small_bound_whatever_the_scores() -> None:
    """The hull of one number is that number."""
    [bound] = bounds(one_head("float32", keys=2), Precision(scores="bfloat16"), q=[2**10], k=[2**10, 2**10], v=[3, 3])
    assert bound < 1e-5


def test_rows_that_see_nothing_have_no_room() -> None:
    """Zeros are zeros."""
    assert bounds(one_head(queries=2, keys=1), q=[1, 1], k=[1], v=[1])[0] == 0
    assert bounds(replace(one_head(), key_lens=(0,))) == [0]


@pytest.mark.parametrize(
    ("precision", "q", "open_"),
    [
        (Precision(scores="float16"), 100.0, False),
        (Precision(scores="float16"), 200.0, True),
        (Precision(), 200.0, False),
        (Precision(), 1e18, False),
        (Precision(), 1e19, True),
    ],
)
def test_scores_that_may_overflow_leave_everything_open(precision: Precision, q: float, open_: bool) -> None:
    """From a quarter of the largest number on: a partial sum may reach it."""
    bound = bounds(one_head("float32", keys=2), precision, q=[q], k=[q, 0], v=[1, 2])
    assert (bound == [inf]) is open_


def test_sums_of_values_that_may_overflow_leave_everything_open() -> None:
    """In their column alone."""
    problem = one_head("float32", keys=2, head_dim=2)
    assert bounds(problem, q=[0, 0], k=[0] * 4, v=[3e38, 1, 3e38, 2])[0] == inf
    assert bounds(problem, q=[0, 0], k=[0] * 4, v=[3e38, 1, 3e38, 2])[1] < 1


def test_parts_that_may_overflow_leave_everything_open() -> None:
    """Where they are kept in less than the values."""
    narrow, wide = (Precision(partials=name) for name in ("float16", "float32"))
    row = one_head("float32", keys=2)
    assert bounds(row, narrow, q=[0], k=[0, 0], v=[6e4, 7e4]) == [inf]
    assert bounds(row, narrow, q=[0], k=[0, 0], v=[6e4, 6e4])[0] < 40
    assert bounds(row, wide, q=[0], k=[0, 0], v=[6e4, 7e4])[0] < 1


def test_hidden_numbers_do_not_widen_the_bound() -> None:
    """Neither huge keys nor NaN behind the diagonal."""
    problem = one_head(queries=2, keys=2)
    tame = bounds(problem, q=[1, 1], k=[1, 1], v=[1, 2])[0]
    for key, value in ((6e4, 6e4), (np.nan, np.nan), (np.inf, -np.inf)):
        assert bounds(problem, q=[1, 1], k=[1, key], v=[1, value])[0] == tame


@pytest.mark.parametrize(("weight_is", "score", "demanded"), [("strong", 0, True), ("weak", -100, False)])
def test_infinite_values_are_demanded_where_their_weight_cannot_vanish(
    weight_is: str, score: float, demanded: bool
) -> None:
    """A weight of e^-100 is below float32's smallest normal: 0 * Inf is anyone's guess."""
    found = expectation(with_numbers(one_head("float32", keys=2), q=[1], k=[0, score], v=[1, inf]))
    assert (found.bound.ravel().tolist() == [0.0]) is demanded, weight_is
    assert (found.exact.ravel().tolist() == [inf]) is demanded
    assert demanded or found.bound.ravel().tolist() == [inf]


def test_a_flash_profile_loses_weights_sooner() -> None:
    """e^-12 is below float16's smallest normal: Inf is demanded of float32 weights and open for float16 ones."""
    inputs = with_numbers(one_head("float16", keys=2), q=[1], k=[0, -12], v=[1, inf])
    assert expectation(inputs).bound.tolist() == [[[0.0]]]
    assert expectation(inputs, Precision(probabilities=INPUT)).bound.tolist() == [[[inf]]]


@pytest.mark.parametrize("n", [1, 100, 10_000])
def test_gamma_bounds_products_of_roundings(n: int) -> None:
    """(1 + u)^n - 1 <= gamma_n and 1 - (1 - u)^n <= gamma_n."""
    roundings = ATTN_CORE.resolve("float32")
    u = roundings.unit
    bound = float(gamma(np, n, roundings))
    assert np.expm1(n * np.log1p(u)) <= bound
    assert -np.expm1(n * np.log1p(-u)) <= bound < 1.1 * n * u


def test_a_short_exp_costs_its_error_in_every_weight() -> None:
    """Times how far the values are from their mean, on either side."""
    row = one_head("float16", keys=2)
    plain, short = (
        bounds(row, Precision(exp_error=error, output="float32"), q=[0], k=[0, 0], v=[-1, 1])[0] for error in (0, 2e-4)
    )
    assert short - plain == pytest.approx(2e-4, rel=1e-2)


def test_the_probabilistic_bound_grows_with_the_root() -> None:
    """lambda sqrt(n) u, and never more than the one that always holds."""
    always, likely = (Precision(probabilistic=p).resolve("float32") for p in (0.0, 3.0))
    n = np.array([1, 4, 9, 100, 10_000])
    ratios = gamma(np, n, likely) / gamma(np, n, always)
    assert np.allclose(ratios, np.minimum(1, 3 / np.sqrt(n)), rtol=1e-2)
    inputs = make_inputs(one_head("float32", queries=4, keys=64, head_dim=64, score_fill="normal", value_fill="normal"))
    sharper, bound = (expect(inputs, Precision(probabilistic=p)).bound for p in (3.0, 0.0))
    assert (sharper < bound).all()


def test_a_constant_added_to_all_values_costs_only_its_own_rounding() -> None:
    """out(v + c) = out(v) + c exactly: an error of the weights acts on v - c as well as on v. Sums of c are rounded."""
    keys, values = np.linspace(-3, 3, 32), np.random.default_rng(0).standard_normal(32)
    row = one_head("float32", keys=32)
    plain, shifted = (bounds(row, Precision(scores="float16"), q=[1], k=keys, v=values + c) for c in (0, 1000))
    assert shifted[0] < 1.5 * plain[0] + 1000 * 70 * 2.0**-24


def test_so_many_terms_leave_a_row_to_its_hull() -> None:
    """Where ``n u`` reaches 1 the formula of a sum turns negative: sums in bfloat16 lose all of 256 terms."""
    roundings = Precision(accumulate=INPUT, scores=INPUT, probabilities=INPUT).resolve("bfloat16")
    for n in (254.0, 255.0, 256.0, 258.0, 4096.0):
        assert gamma(np, n, roundings) > 100
        assert gamma(np, np.array([[n]]), roundings).item() == gamma(np, n, roundings)
    problem = one_head("bfloat16", keys=600)
    rng = np.random.default_rng(0)
    arrays = {"q": [0.0], "k": rng.standard_normal(600), "v": rng.standard_normal(600)}
    found = expectation(with_numbers(problem, **arrays), Precision(accumulate=INPUT, probabilities=INPUT))
    spread, largest = np.ptp(arrays["v"]), np.abs(arrays["v"]).max()
    assert spread < found.bound.item() <= 1.1 * (spread + (2 * 600 + 9) * 2.0**-8 * largest)
