"""Each term of the bound against what it stands for, worked out in exact or 60-digit arithmetic.

A custom profile leaves one source of error and takes it to its extremes: the bound must hold, and not by a wide margin.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import hypothesis.strategies as st
import mpmath
import numpy as np
import pytest
from mpmath import mpf

from tests.properties.generated import over
from verification.oracle.bound import scores_bound
from verification.oracle.precision import Precision, Roundings
from verification.oracle.reference import Attended, attend
from verification.problem.formats import FORMATS

mpmath.mp.dps = 60
EXACT = Precision("float64", "float64", "float64", "float64").resolve("float32")
_numbers = st.floats(-8, 8, width=16)


def attended(scores: list[float], values: list[float], roundings: Roundings) -> Attended:
    """One query of head_dim 1 and scale 1 whose scores are these."""
    k, v = (np.array(x, np.float64).reshape(1, -1, 1) for x in (scores, values))
    return attend(np, np.ones((1, 1, 1)), k, v, np.array([len(scores)]), 1.0, roundings)


def worst(exact_weights: list[mpf], factors: list[mpf], values: list[float]) -> float:
    """The largest change of sum p v / sum p when each p is multiplied by its factor, or divided by it."""

    def mean(weights: list[mpf]) -> mpf:
        return mpmath.fsum(w * mpf(v) for w, v in zip(weights, values, strict=True)) / mpmath.fsum(weights)

    exact = mean(exact_weights)
    signs = product((1, -1), repeat=len(values))
    changed = ([w * f**s for w, f, s in zip(exact_weights, factors, sign, strict=True)] for sign in signs)
    return float(max(abs(mean(weights) - exact) for weights in changed))


_row = st.lists(st.tuples(_numbers, _numbers), min_size=1, max_size=5)


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
@over(150, _row)
def test_scores_that_are_stored_in_low_precision(stored: str, row: list[tuple[float, float]]) -> None:
    """Every S_j off by u |S_j| up or down, in all combinations: within the bound."""
    scores, values = [s for s, _ in row], [v for _, v in row]
    fmt = FORMATS[stored]
    found = attended(scores, values, replace(EXACT, scores=fmt))
    change = worst([mpmath.exp(s) for s in scores], [mpmath.exp(fmt.unit * abs(s)) for s in scores], values)
    assert change <= found.bound.ravel()[0]


@pytest.mark.parametrize("score", [0.25, 2.0, 5.0])
def test_the_bound_of_stored_scores_is_attained(score: float) -> None:
    """Equal scores and opposite values: one weight rises while the other falls."""
    fmt, values = FORMATS["float16"], [1.0, -1.0]
    change = worst([mpmath.exp(score)] * 2, [mpmath.exp(fmt.unit * score)] * 2, values)
    [bound] = attended([score] * 2, values, replace(EXACT, scores=fmt)).bound.ravel()
    assert 0.98 * bound < change <= bound


@over(150, _row)
def test_weights_that_are_stored_in_low_precision(row: list[tuple[float, float]]) -> None:
    """Every weight off by u of itself after normalisation: sum p_j u |v_j|, exactly the bound's term."""
    scores, values = [s for s, _ in row], [v for _, v in row]
    fmt = FORMATS["float16"]
    found = attended(scores, values, replace(EXACT, probabilities=fmt))
    change = float((found.weights.ravel() * fmt.unit * np.abs(values)).sum())
    [bound] = found.bound.ravel()
    assert change <= bound <= 1.01 * change + fmt.smallest_subnormal * np.abs(values).sum() + 1e-12


@pytest.mark.parametrize("num_keys", [2, 3, 5])
def test_exp_may_be_off_by_eight_units(num_keys: int) -> None:
    """Every weight off by 8u up or down, where the scores are exact: zeros."""
    values = [1.0, -1.0, 0.5, -0.5, 1.0][:num_keys]
    unit = FORMATS["float32"].unit
    found = attended([0.0] * num_keys, values, Precision(output="float64").resolve("float32"))
    change = worst([mpf(1)] * num_keys, [1 + 8 * mpf(unit)] * num_keys, values)
    assert change <= found.bound.ravel()[0] <= 4 * change


@pytest.mark.parametrize("output", ["float16", "bfloat16"])
@over(150, _row)
def test_outputs_are_rounded_once(output: str, row: list[tuple[float, float]]) -> None:
    """To the nearest of the format: within the bound, which is a unit roundoff of the output and no more."""
    found = attended([s for s, _ in row], [v for _, v in row], replace(EXACT, output=FORMATS[output]))
    [exact], [bound] = found.out.ravel(), found.bound.ravel()
    rounded = float(np.float32(exact).astype(FORMATS[output].numpy))
    assert abs(rounded - exact) <= bound
    assert bound <= FORMATS[output].unit * abs(exact) + FORMATS[output].smallest_subnormal + 1e-12


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@over(200, st.lists(st.tuples(_numbers, _numbers), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_dot_products_in_float32(dtype: str, pairs: list[tuple[float, float]], reverse: bool, scaled: bool) -> None:
    """A float32 sum in either order, scaled after it or folded into q: within the scores' own bound of the fraction."""
    fmt = FORMATS[dtype]
    q, k = (np.array(x, np.float32).astype(fmt.numpy) for x in zip(*pairs, strict=True))
    scale = len(pairs) ** -0.5
    products = [Fraction(float(x)) * Fraction(float(y)) for x, y in zip(q, k, strict=True)]
    exact, magnitude = Fraction(scale) * sum(products), sum(map(abs, products))
    wide = (q.astype(np.float32) * np.float32(scale)).astype(fmt.numpy) if scaled else q
    total = np.float32(0)
    for x, y in list(zip(wide.astype(np.float32), k.astype(np.float32), strict=True))[:: -1 if reverse else 1]:
        total = np.float32(total + np.float32(x * y))
    computed = total if scaled else np.float32(total * np.float32(scale))
    roundings = Precision(scaled_query=scaled).resolve(dtype)
    limits = (np.array(float(x)) for x in (exact, magnitude))
    bound = float(scores_bound(np, *limits, len(pairs), scale, roundings))
    assert abs(Fraction(float(computed)) - exact) <= Fraction(bound) * (1 + Fraction(1, 2**40))


@over(150, st.lists(st.floats(-88, 0, width=32), min_size=1, max_size=5))
def test_weights_below_the_normal_range_may_be_flushed(scores: list[float]) -> None:
    """Every weight under float16's smallest subnormal gone: within what the bound sets aside for it."""
    fmt = FORMATS["float16"]
    values = [0.0, *[1.0] * len(scores)]
    found = attended([0.0, *scores], values, replace(EXACT, probabilities=fmt))
    weights = [mpmath.exp(s) for s in (0.0, *scores)]
    flushed = [w if w >= fmt.smallest_subnormal / 2 else mpf(0) for w in weights]
    change = sum(abs((w - f) * mpf(v)) for w, f, v in zip(weights, flushed, values, strict=True)) / sum(weights)
    assert float(change) <= found.bound.ravel()[0]
