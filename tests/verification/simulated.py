"""Honest attention in low precision: every operation rounded, in an order that nobody can call unusual."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.oracle.expectation import Expectation, Sequence
from verification.oracle.precision import Roundings

Array = NDArray[Any]


def simulate(expectation: Expectation, scale: float, *, reverse: bool = False, late_division: bool = True) -> Array:
    """The answer ``[T, H, D]`` of an implementation that rounds all that ``expectation.roundings`` allows.

    ``late_division``: unnormalised weights are cast and multiplied, and the sum divided by at the end (flash); else the
    weights are divided first (eager). ``reverse`` sums from the other end.
    """
    output = np.zeros(expectation.exact.shape, expectation.roundings.output.numpy)
    with np.errstate(all="ignore"):
        for sequence, _ in expectation.sequences:
            if sequence.q.shape[0] and sequence.keys.shape[0]:
                output[sequence.rows] = _attend(sequence, scale, expectation.roundings, reverse, late_division)
    return output


def _attend(sequence: Sequence, scale: float, r: Roundings, reverse: bool, late_division: bool) -> Array:
    acc = r.accumulate.numpy
    repeats = sequence.q.shape[1] // sequence.keys.shape[1]
    q = sequence.q.astype(acc).swapaxes(0, 1)
    k, v = (
        np.repeat(np.where(np.isfinite(x), x, 0).astype(acc), repeats, axis=1).swapaxes(0, 1)
        for x in (sequence.keys, sequence.values)
    )
    scale = float(np.array(scale, r.query.numpy)) if r.query and r.scale_cast else scale
    if r.query is not None:
        q = (q * acc.type(scale)).astype(r.query.numpy).astype(acc)
    dims, keys = (range(n)[:: -1 if reverse else 1] for n in (q.shape[2], k.shape[1]))
    scores = np.zeros((q.shape[0], q.shape[1], k.shape[1]), acc)
    for d in dims:
        scores = _rounded(scores, q[:, :, None, d].astype(np.float64) * k[:, None, :, d], r)
    scores = (scores if r.query is not None else scores * acc.type(scale)).astype(r.scores.numpy).astype(acc)
    visible = np.arange(k.shape[1]) < sequence.counts[:, None]
    scores = np.where(visible, scores, -np.inf)
    weights = np.where(visible, np.exp(scores - scores.max(axis=-1, keepdims=True)), 0).astype(acc)
    total = np.zeros(weights.shape[:2], acc)
    for j in keys:
        total = _rounded(total, weights[:, :, j].astype(np.float64), r)
    total = np.where(sequence.counts == 0, acc.type(1), total)[..., None]
    weights = (weights if late_division else weights / total).astype(r.probabilities.numpy).astype(acc)
    out = np.zeros(q.shape, acc)
    for j in keys:
        out = _rounded(out, weights[:, :, j, None].astype(np.float64) * v[:, None, j], r)
    return (out / total if late_division else out).astype(r.output.numpy).swapaxes(0, 1)


def _rounded(total: Array, term: Array, r: Roundings) -> Array:
    """``total + term`` as the accumulator keeps it: to nearest in two roundings, or toward zero in one."""
    if r.unit == r.accumulate.unit:
        return total + term.astype(total.dtype)
    exact = total.astype(np.float64) + term
    nearest = exact.astype(total.dtype)
    too_far = np.abs(nearest.astype(np.float64)) > np.abs(exact)
    return np.where(too_far, np.nextafter(nearest, total.dtype.type(0)), nearest)
