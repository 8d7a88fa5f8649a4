"""Sums, formats and underflow: each term has a constructed problem, on which an honest kernel would be called wrong
without it. The table in docs/error-bound.md names them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.verification.oracle.constructed import (
    WIDE,
    Array,
    U,
    attend_in_order,
    judge,
    round_to,
    sum_in_order,
)
from verification.oracle import bound, rows
from verification.oracle.precision import Precision, Roundings
from verification.oracle.rows import Rows
from verification.problem.formats import FORMATS

HALF = FORMATS["float16"].unit
FLOAT32 = WIDE.resolve("float32")
OPPOSITE = np.array([[1.0, -1.0]])


def none(*_: Any) -> float:
    return 0.0


def test_a_dot_product_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """An accumulator that holds 1 loses 1,023 terms of one key, and as many of the other sign of the other."""
    k = np.ones((1, 2, 1024))
    k[0, :, 1:] = np.float32(0.99) * np.array([[2 * U], [-U]], np.float32) / 2
    got = attend_in_order(np.array([sum_in_order(key) for key in k[0]]), OPPOSITE[0])
    assert 0.6 < judge(got, np.ones((1, 1024)), k, OPPOSITE, FLOAT32) <= 1
    monkeypatch.setattr(bound, "gamma", none)
    assert judge(got, np.ones((1, 1024)), k, OPPOSITE, FLOAT32) > 10


def test_a_dot_product_that_truncates() -> None:
    """2,048 terms of just under a unit in the last place: all are lost, where to nearest none would be."""
    key = np.array([0.125, *[0.99 * 2.0**-26] * 2048], np.float32)
    k = np.stack([key, -key])[None]
    got = attend_in_order(np.array([sum_in_order(each, truncating=True) for each in k[0]]), OPPOSITE[0])
    problem = np.ones((1, len(key))), k, OPPOSITE
    assert judge(got, *problem, FLOAT32) > 1.3
    assert 0.6 < judge(got, *problem, replace(WIDE, truncating=True).resolve("float32")) <= 1


def test_sums_of_weights_that_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 weights are lost from a sum that holds 1, and from one of values that holds 1.5, on opposite sides."""
    scores, v = np.repeat([0.0, np.log(0.99 * U)], [1, 600]), np.repeat([1.5, -1.0], [1, 600])
    problem = np.ones((1, 1)), scores[None, :, None].astype(np.float32), v[None]
    got = attend_in_order(scores, v)
    assert 0.6 < judge(got, *problem, FLOAT32) <= 1
    monkeypatch.setattr(bound, "gamma", none)
    assert judge(got, *problem, FLOAT32) > 10


def in_doubt(scores: Array) -> tuple[Array, Array]:
    """A query and keys with these scores, each the sum of 2^30, -2^30 and itself: any order but this may lose it, so
    that no more is known of the row than its hull.
    """
    ends = np.full((len(scores), 2), [2.0**30, -(2.0**30)])
    return np.ones((1, 3)), np.concatenate([ends, scores[:, None].astype(np.float32)], axis=1)[None]


def test_sums_that_leave_the_hull(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equal values: each of 600 weights is lost from the one sum, and counts more than it is in the other."""
    scores, v = np.repeat([0.0, np.log(0.99 * U)], [1, 600]), np.full((1, 601), 1.5)
    got = attend_in_order(scores, v[0])
    assert 0.6 < judge(got, *in_doubt(scores), v, FLOAT32) <= 1
    monkeypatch.setattr(bound, "hull_rounding", none)
    assert judge(got, *in_doubt(scores), v, FLOAT32) > 10


def test_a_cast_that_leaves_the_hull() -> None:
    """Of equal values, all but one of whose weights are rounded up after their sum."""
    scores, v = np.log(np.repeat([1.0, 0.5 * (1 + 1.01 * HALF)], [1, 600])), np.ones((1, 601))
    weights = np.exp(scores).astype(np.float32)
    got = round_to(weights, "float16").sum(keepdims=True) / weights.sum()
    assert judge(got, *in_doubt(scores), v, FLOAT32) > 5
    assert 0.6 < judge(got, *in_doubt(scores), v, replace(WIDE, probabilities="float16").resolve("float32")) <= 1


def test_a_scale_that_is_folded_into_the_query() -> None:
    """One number of q is rounded down and one up; each key has one of them."""
    scale, q = 1 + 0.98 * HALF, np.array([[1.0, 1 + 60 * HALF]])
    k = np.array([[[8.0, 0.0], [0.0, float(np.float16(8 / q[0, 1]))]]])
    got = attend_in_order((k[0] @ round_to(q * scale, "float16")[0]), OPPOSITE[0])
    assert judge(got, q, k, OPPOSITE, WIDE.resolve("float16"), scale=scale) > 10
    assert 0.9 < judge(got, q, k, OPPOSITE, replace(WIDE, scaled_query=True).resolve("float16"), scale=scale) <= 1


def test_a_folded_query_below_the_normal_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.45 and 1.74 subnormal numbers become 1 and 2, and keys of 60,000 make much of it."""
    scale, q = 0.29, np.array([[5.0, 6.0]]) * 2.0**-24
    k, r = np.array([[[60000.0, 0.0], [0.0, 50000.0]]]), replace(WIDE, scaled_query=True).resolve("float16")
    got = attend_in_order(k[0] @ round_to(q * scale, "float16")[0], OPPOSITE[0])
    assert 0.6 < judge(got, q, k, OPPOSITE, replace(r), scale=scale) <= 1
    monkeypatch.setattr(Roundings, "lost_query", 0.0)
    assert judge(got, q, k, OPPOSITE, replace(r), scale=scale) > 10


def test_a_query_that_is_flushed() -> None:
    """Half the smallest normal number is taken for 0, whatever it is multiplied by."""
    problem = np.full((1, 1), 2.0**-127), np.array([[[2.0**124], [0.0]]]), OPPOSITE
    assert judge(np.zeros(1), *problem, FLOAT32) > 10
    assert 0.2 < judge(np.zeros(1), *problem, replace(WIDE, flushing=True).resolve("float32")) <= 1


def test_a_scale_that_is_rounded() -> None:
    """To 1, from just below the half between 1 and the next number."""
    scale, q, k = 1 + 0.98 * HALF, np.ones((1, 1)), np.array([[[0.125], [-0.125]]])
    got = attend_in_order(k[0, :, 0], OPPOSITE[0])
    assert judge(got, q, k, OPPOSITE, WIDE.resolve("float16"), scale=scale) > 10
    assert 0.8 < judge(got, q, k, OPPOSITE, replace(WIDE, rounded_scale=True).resolve("float16"), scale=scale) <= 1


def test_a_short_exp() -> None:
    """Off by 1.07e-4 either way, as torch's is on a processor."""
    weights = 1 + 1.07e-4 * OPPOSITE
    got, problem = (weights * OPPOSITE).sum(axis=-1) / weights.sum(), (np.ones((1, 1)), np.zeros((1, 2, 1)), OPPOSITE)
    assert judge(got, *problem, WIDE.resolve("float16")) > 50
    assert 0.8 < judge(got, *problem, replace(WIDE, exp_error=2.0**-13).resolve("float16")) <= 1


def test_weights_that_an_exp_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it makes 2^n as 2 * 2^(n - 1): what is not twice as large as the smallest normal number."""
    problem = np.ones((1, 1)), np.array([[[0.0], [np.log(1.9 * 2.0**-126)]]]), np.array([[0.0, 2.0**120]])
    assert 0.9 < judge(np.zeros(1), *problem, replace(FLOAT32)) <= 1
    monkeypatch.setattr(Roundings, "lost_weight", 0.0)
    assert judge(np.zeros(1), *problem, replace(FLOAT32)) > 10


def test_products_that_are_flushed() -> None:
    """Of weights of a half and values of half the smallest normal number."""
    problem = np.ones((1, 1)), np.zeros((1, 2, 1)), np.full((1, 2), 2.0**-127)
    assert judge(np.zeros(1), *problem, FLOAT32) > 10
    assert judge(np.zeros(1), *problem, replace(WIDE, flushing=True).resolve("float32")) <= 1


def test_outputs_below_the_normal_range() -> None:
    """The half of float16's smallest subnormal number is rounded to 0."""
    problem, r = (np.ones((1, 1)), np.zeros((1, 2, 1)), np.array([[0.0, 2.0**-24]])), Precision().resolve("float16")
    assert 0.9 < judge(np.zeros(1), *problem, r) <= 1
    assert judge(np.zeros(1), *problem, replace(r, output=replace(r.output, min_exponent=-100))) > 10


def test_what_is_added_to_a_score() -> None:
    """A mask of 10,000 for both keys changes nothing but the scores' rounding."""
    scores = np.random.default_rng(0).random((500, 2)).astype(np.float32)
    weights = np.exp((scores + np.float32(1e4)).astype(np.float64) - 1e4)
    got = (weights * OPPOSITE).sum(axis=-1) / weights.sum(axis=-1)
    problem = np.ones((500, 1)), scores[..., None], np.tile(OPPOSITE, (500, 1))
    added = Rows(np.ones((500, 1, 2), bool), bias=np.full((500, 1, 2), 1e4))
    assert judge(got, *problem, FLOAT32) > 10
    assert 0.2 < judge(got, *problem, FLOAT32, rows=added) <= 1


def test_a_softcap_that_is_nearly_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its slope is 1 %: what counts is how the result of about 9,950 is rounded."""
    scores = (3e4 + 100 * np.random.default_rng(0).random((500, 2))).astype(np.float32)
    capped = np.tanh(scores / np.float32(1e4)) * np.float32(1e4)
    weights = np.exp(capped.astype(np.float64) - 1e4)
    got = (weights * OPPOSITE).sum(axis=-1) / weights.sum(axis=-1)
    problem = np.ones((500, 1)), scores[..., None], np.tile(OPPOSITE, (500, 1))
    cap = Rows(np.ones((500, 1, 2), bool), softcap=1e4)
    assert 0.1 < judge(got, *problem, FLOAT32, rows=cap) <= 1
    monkeypatch.setattr(rows, "_capped", without_rounding(rows._capped))
    assert judge(got, *problem, FLOAT32, rows=cap) > 2


def without_rounding(capped: Callable[..., tuple[Array, Array]]) -> Callable[..., tuple[Array, Array]]:
    """``_capped`` less six units of its result."""

    def less(xp: Any, scores: Array, error: Array, cap: float, r: Roundings) -> tuple[Array, Array]:
        out, moved = capped(xp, scores, error, cap, r)
        return out, moved - 6 * r.total_unit * np.abs(out)

    return less


def test_a_sink_that_is_kept_as_scores_are() -> None:
    """Rounded down, it leaves more to the key."""
    sink = 8 * (1 + 0.98 * HALF)
    got, problem = np.array([1 / (1 + np.exp(8.0))]), (np.ones((1, 1)), np.zeros((1, 1, 1)), np.ones((1, 1)))
    added = Rows(np.ones((1, 1, 1), bool), sinks=np.array([sink]))
    assert judge(got, *problem, FLOAT32, rows=added) > 10
    assert 0.9 < judge(got, *problem, replace(WIDE, scores="float16").resolve("float32"), rows=added) <= 1
