"""The reference against exact arithmetic, written from the contract without it."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import isfinite, isnan

import numpy as np
from hypothesis.strategies import sampled_from
from mpmath import mpf

from properties.generate.strategies import problems
from tests.properties.generated import over
from tests.verification.exact import exact_output, seen_by_each_query
from verification.oracle.expectation import expect
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.problem.describe import describe
from verification.tensors.inputs import make_inputs

FLOAT64 = Precision("float64", "float64", "float64", "float64")


def is_tiny(problem: Problem) -> bool:
    """Few enough multiplications to do each of them in 60 digits."""
    keys = max(problem.key_lens, default=0)
    return problem.num_queries * problem.num_heads * keys * problem.head_dim <= 700


def dot(q: np.ndarray, k: np.ndarray) -> float:
    """|q| |k|; NaN where it has no meaning."""
    with np.errstate(invalid="ignore"):
        return float(np.abs(q.astype(np.float64)) @ np.abs(k.astype(np.float64)))


def assert_exact(problem: Problem, precision: Precision) -> None:
    """|reference - exact| <= 1e-13 max|v|; where |q| |k| scale is beyond 100, within float64's own bound.

    exp turns an absolute error of a score into a relative one of its weight, so no float64 reference can do better.
    """
    inputs, group = make_inputs(problem), problem.num_heads // problem.num_kv_heads
    with np.errstate(all="ignore"):
        expectation = expect(inputs, precision)
    seen = seen_by_each_query(inputs)
    for (t, heads), h in product(enumerate(exact_output(inputs)), range(problem.num_heads)):
        magnitude = max((dot(inputs.q[t, h], k[h // group]) for k, _ in seen[t]), default=0.0)
        largest = max((abs(float(x)) for _, v in seen[t] for x in v[h // group]), default=0.0)
        for d, exact in enumerate(heads[h] or ()):
            error = float(abs(mpf(float(expectation.exact[t, h, d])) - exact))
            assert error <= expectation.bound[t, h, d], describe(problem)
            assert error <= 1e-13 * largest or problem.scale * magnitude > 100, describe(problem)


@over(250, sampled_from(("float16", "bfloat16", "float32")).flatmap(problems).filter(is_tiny))
def test_reference_is_exact(problem: Problem) -> None:
    """For every phase, alignment, grouping, block table and slot that is generated."""
    assert_exact(problem, FLOAT64)


@over(150, problems("float64").filter(is_tiny))
def test_reference_is_exact_for_float64(problem: Problem) -> None:
    """Whose numbers need all the bits that the reference has."""
    assert_exact(problem, Precision())


@over(150, sampled_from(("float16", "float32")).flatmap(lambda dtype: problems(dtype, plain=True)).filter(is_tiny))
def test_scores_are_exact_dot_products(problem: Problem) -> None:
    """Against sums of fractions: no rounding there at all. The reference's are off by gamma_{D+1}(2^-53) at most."""
    inputs = make_inputs(problem)
    for sequence, attended in expect(inputs, Precision()).sequences:
        for h, a, b in np.ndindex(*attended.scores.shape):
            q, k = sequence.q[a, h], sequence.keys[b, h * problem.num_kv_heads // problem.num_heads]
            if not np.isfinite(k).all():
                continue
            products = [Fraction(float(x)) * Fraction(float(y)) for x, y in zip(q, k, strict=True)]
            exact, magnitude = (Fraction(problem.scale) * sum(x) for x in (products, map(abs, products)))
            room = magnitude * (problem.head_dim + 2) / 2**53 + Fraction(2) ** -1070
            assert abs(Fraction(float(attended.scores[h, a, b])) - exact) <= room


@over(300, problems("float16").filter(is_tiny))
def test_nan_where_a_nan_is_seen(problem: Problem) -> None:
    """In q or in a visible key: all of the row. In a visible value: its column. Finite where all that is seen is."""
    inputs = make_inputs(problem)
    with np.errstate(all="ignore"):
        exact = expect(inputs, Precision()).exact
    for t, rows in enumerate(seen_by_each_query(inputs)):
        for h in range(problem.num_heads):
            g = h * problem.num_kv_heads // problem.num_heads
            row = [*inputs.q[t, h], *(x for k, _ in rows for x in k[g])]
            for d in range(problem.head_dim):
                column = [v[g][d] for _, v in rows]
                if rows and any(map(isnan, row + column)):
                    assert isnan(exact[t, h, d])
                elif all(map(isfinite, row + column)):
                    assert isfinite(exact[t, h, d])
