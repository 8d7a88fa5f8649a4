"""The cast of the weights, and the merge of parts: each term has a constructed problem, on which an honest kernel would
be called wrong without it. The table in docs/error-bound.md names them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.verification.oracle.constructed import WIDE, Array, in_digits, judge, round_to, sum_in_order
from verification.oracle import reference
from verification.oracle.bound import excess_of_shares
from verification.oracle.precision import INPUT, Precision, Roundings
from verification.problem.formats import FORMATS

NARROW = ("float16", "bfloat16")


def rounded_weights(up: int, down: int, dtype: str) -> tuple[Array, Array, Array, Array]:
    """One key of weight 1, ``up`` keys whose weights are rounded up, and ``down`` keys whose weights are rounded down.
    Only those that are rounded up have values, of 1. The last array are the weights as float32 has them.
    """
    u = FORMATS[dtype].unit
    q, k = in_digits(np.log(np.repeat([1.0, 0.5 * (1 + 1.01 * u), 0.5 * (1 + 0.99 * u)], [1, up, down])), dtype)
    values = np.repeat([[0.0, 1.0, 0.0]], [1, up, down], axis=1)
    return q, k, values, np.exp((q[:, None] * k).sum(axis=-1)).astype(np.float32)


@pytest.mark.parametrize("dtype", NARROW)
def test_weights_that_are_summed_after_their_cast(dtype: str) -> None:
    """A weight that is rounded down leaves more to the others: the term has ``|v - o|`` where the other has ``|v|``."""
    q, k, v, weights = rounded_weights(10, 40, dtype)
    kept = round_to(weights, dtype)
    got = (kept * v).sum(axis=-1, dtype=np.float32) / kept.sum(axis=-1, dtype=np.float32)
    before, after = (replace(WIDE, probabilities=INPUT, weights_summed=name) for name in ("before", "after"))
    assert judge(got, q, k, v, before.resolve(dtype)) > 1.2
    assert 0.9 < judge(got, q, k, v, after.resolve(dtype)) <= 1


@pytest.mark.parametrize("dtype", NARROW)
def test_weights_that_are_summed_before_their_cast(dtype: str) -> None:
    """All that have a value are rounded up."""
    q, k, v, weights = rounded_weights(40, 0, dtype)
    got = (round_to(weights, dtype) * v).sum(axis=-1, dtype=np.float32) / weights.sum(axis=-1, dtype=np.float32)
    assert judge(got, q, k, v, WIDE.resolve(dtype)) > 50
    assert 0.9 < judge(got, q, k, v, replace(WIDE, probabilities=INPUT).resolve(dtype)) <= 1


@pytest.mark.parametrize("summed", ["before", "after"])
def test_weights_that_a_cast_loses(summed: str) -> None:
    """600 of just under half a subnormal, with large values: all that is left is the -1."""
    q, k = in_digits(np.log(np.repeat([1.0, 2.0**-25 * 0.99], [1, 600])), "float16")
    v = np.repeat([[-1.0, 60000.0]], [1, 600], axis=1)
    r = replace(WIDE, probabilities=INPUT, weights_summed=summed).resolve("float16")
    assert 0.9 < judge(np.array([-1.0]), q, k, v, r) <= 1
    without = replace(r, probabilities=replace(r.probabilities, min_exponent=-100))
    assert judge(np.array([-1.0]), q, k, v, without) > 10


def test_parts_that_are_kept_in_a_narrow_format() -> None:
    """Two parts of one key each, whose outputs are rounded the same way."""
    u = FORMATS["float16"].unit
    v = np.array([[1 + 0.98 * u, -1 - 1.02 * u]])
    got, q, k = round_to(v, "float16").mean(axis=-1), np.ones((1, 1)), np.zeros((1, 2, 1))
    wide, narrow = (replace(WIDE, partials=name).resolve("float32") for name in ("float32", "float16"))
    assert judge(got, q, k, v, wide) > 50
    assert 0.9 < judge(got, q, k, v, narrow) <= 1


def test_parts_below_the_normal_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of either is half of float16's smallest subnormal number, and is kept as 0."""
    problem = np.ones((1, 1)), np.zeros((1, 4, 1)), np.array([[2.0**-24, 0.0] * 2])
    r = replace(WIDE, partials=INPUT).resolve("float16")
    assert 0.9 < judge(np.zeros(1), *problem, replace(r)) <= 1
    monkeypatch.setattr(Roundings, "lost_partial", 0.0)
    assert judge(np.zeros(1), *problem, replace(r)) > 10


def merge(lse: Array, by: str) -> Array:
    """Outputs of 1 of parts with log-sum-exps ``[..., P]``, merged in float32."""
    top = lse.max(axis=-1, keepdims=True)
    total = np.exp(lse - top).sum(axis=-1, keepdims=True)
    shares = np.exp(lse - (top + np.log(total))) if by == "lse" else np.exp(lse - top) / total
    return np.asarray(shares.sum(axis=-1))


@pytest.mark.parametrize("size", [90.0, -90.0, 3000.0])
def test_shares_that_do_not_add_up(size: float) -> None:
    """Equal values, and a part for each key: the hull is one number, which the rounded log-sum-exp of the whole leaves
    by ``u |lse|``.
    """
    scores = (size + np.random.default_rng(0).random((500, 3))).astype(np.float32)
    problem = np.ones((500, 1)), scores[..., None], np.ones((500, 3))
    quotient, lse = (replace(WIDE, partials="float32", merge=name).resolve("float32") for name in ("quotient", "lse"))
    assert judge(merge(scores, "lse"), *problem, quotient) > 1.5
    assert 0.1 < judge(merge(scores, "lse"), *problem, lse) <= 1
    assert judge(merge(scores, "quotient"), *problem, quotient) <= 1


@pytest.mark.parametrize("dtype", NARROW)
def test_shares_that_do_not_add_up_in_a_narrow_output(dtype: str) -> None:
    """Scores of 2^20 are enough."""
    problem = np.full((1, 1), 2.0**10), np.full((1, 2, 1), 2.0**10), np.ones((1, 2))
    got = round_to(merge(np.full((1, 2), 2.0**20, np.float32), "lse"), dtype)
    quotient, lse = (Precision(partials=INPUT, merge=name).resolve(dtype) for name in ("quotient", "lse"))
    assert judge(got, *problem, quotient) > 1
    assert 0.1 < judge(got, *problem, lse) <= 1


def test_shares_of_scores_that_an_accumulator_made_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between 2^30 and -2^30 each 65 counts 128 and each -63 nothing: eight of both are 16, and 1024 in float32. What
    is rounded then is as large as the scores that the kernel has.
    """
    key = np.array([2.0**30, *[65.0, -63.0] * 8, -(2.0**30)])
    scores = np.full((1, 2), sum_in_order(key))
    assert (key.sum(), scores.max()) == (16, 1024)
    problem = np.ones((1, len(key))), np.tile(key, (1, 2, 1)), np.ones((1, 2))
    quotient, lse = (replace(WIDE, partials="float32", merge=name).resolve("float32") for name in ("quotient", "lse"))
    assert judge(merge(scores, "lse"), *problem, quotient) > 10
    assert judge(merge(scores, "lse"), *problem, lse) <= 1
    monkeypatch.setattr(reference, "excess_of_shares", as_if_scores_were_exact)
    assert judge(merge(scores, "lse"), *problem, lse) > 1


def as_if_scores_were_exact(xp: Any, top: Array, shifted: Array, error: Array, keys: Array, r: Roundings) -> Array:
    """`excess_of_shares` without how far the log-sum-exp may be moved."""
    return np.asarray(excess_of_shares(xp, top, shifted, 0 * error, keys, r))
