"""What tests of constructed problems share: rows by their scores, honest sums, and the ratio of what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.oracle.precision import Precision, Roundings
from verification.oracle.reference import attend
from verification.oracle.rows import Rows
from verification.problem.formats import FORMATS

Array = NDArray[Any]
U = 2.0**-24
# Returned in float32, so that only what a test is about is large.
WIDE = Precision(output="float32")


def judge(
    got: Array, q: Array, k: Array, v: Array, r: Roundings, *, scale: float = 1.0, rows: Rows | None = None
) -> float:
    """The largest ratio of outputs ``[H]`` to queries ``[H, D]`` over keys ``[H, L, D]`` and values ``[H, L]``."""
    with np.errstate(all="ignore"):
        each = (np.asarray(x, np.float64) for x in (q[:, None], k, v[..., None]))
        found = attend(np, *each, np.array([k.shape[1]]), scale, r, rows)
    return float((np.abs(np.asarray(got, np.float64) - found.out[:, 0, 0]) / found.bound[:, 0, 0]).max())


def round_to(x: Array, dtype: str) -> Array:
    """In float32 again."""
    return x.astype(np.float32).astype(FORMATS[dtype].numpy).astype(np.float32)


def sum_in_order(terms: Array, *, truncating: bool = False) -> np.float32:
    """The sum ``[L]`` of one accumulator in float32, term after term, to nearest or toward 0."""
    total = np.float32(0)
    for term in terms.astype(np.float32):
        exact = float(total) + float(term)
        total = np.float32(exact)
        if truncating and abs(float(total)) > abs(exact):
            total = np.nextafter(total, np.float32(0))
    return total


def attend_in_order(scores: Array, v: Array) -> Array:
    """The output ``[1]`` for scores and values ``[L]`` in float32, weights summed before anything is divided."""
    weights = np.exp(scores.astype(np.float32) - scores.max().astype(np.float32))
    return np.array([sum_in_order(weights * v.astype(np.float32)) / sum_in_order(weights)])


def in_digits(scores: Array, dtype: str) -> tuple[Array, Array]:
    """A query ``[1, 4]`` and keys ``[1, L, 4]`` of ``dtype`` whose products are these scores, to 30 bits and more."""
    q, rest, digits = 2.0 ** (-8.0 * np.arange(4)), scores, []
    for factor in q:
        digits.append((rest / factor).astype(FORMATS[dtype].numpy).astype(np.float64))
        rest = rest - digits[-1] * factor
    return q[None], np.stack(digits, axis=-1)[None]
