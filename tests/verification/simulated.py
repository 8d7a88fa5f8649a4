"""Honest attention in low precision: every operation rounded, in an order that nobody can call unusual."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.oracle.expectation import Expectation, Sequence
from verification.oracle.precision import Roundings

Array = NDArray[Any]
# Parts that a context is split into where the profile keeps the outputs of parts.
PARTS = 3


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
    dims = range(q.shape[2])[:: -1 if reverse else 1]
    scores = np.zeros((q.shape[0], q.shape[1], k.shape[1]), acc)
    for d in dims:
        scores = _rounded(scores, q[:, :, None, d].astype(np.float64) * k[:, None, :, d], r)
    scores = (scores if r.query is not None else scores * acc.type(scale)).astype(r.scores.numpy).astype(acc)
    visible = np.arange(k.shape[1]) < sequence.counts[:, None]
    order = np.arange(k.shape[1])[:: -1 if reverse else 1]
    rows = np.where(visible, scores, -np.inf), np.broadcast_to(visible, scores.shape), v
    if r.partials is None:
        return _mean(*rows, order, r, late_division)[0].astype(r.output.numpy).swapaxes(0, 1)
    parts = [_mean(*rows, part, r, late_division) for part in np.array_split(order, PARTS) if len(part)]
    return _merge(parts, r).astype(r.output.numpy).swapaxes(0, 1)


def _mean(
    scores: Array, visible: Array, v: Array, part: Array, r: Roundings, late_division: bool
) -> tuple[Array, Array]:
    """The mean of those values ``part`` of them, in its order, and the log-sum-exp of their scores."""
    acc = r.accumulate.numpy
    largest = scores[:, :, part].max(axis=-1, keepdims=True)
    weights = np.exp(scores[:, :, part] - np.where(np.isneginf(largest), acc.type(0), largest))
    weights = np.where(visible[:, :, part], weights, 0).astype(acc)
    cast = weights.astype(r.probabilities.numpy).astype(acc)
    total = np.zeros(weights.shape[:2], acc)
    for j in range(len(part)):
        total = _rounded(total, (cast if r.sums_what_is_cast else weights)[:, :, j].astype(np.float64), r)
    total = np.where(total == 0, acc.type(1), total)[..., None]
    if not (late_division or r.sums_what_is_cast):
        cast = (weights / total).astype(r.probabilities.numpy).astype(acc)
    out = np.zeros((*weights.shape[:2], v.shape[2]), acc)
    for j, key in enumerate(part):
        out = _rounded(out, cast[:, :, j, None].astype(np.float64) * v[:, None, key], r)
    lse = largest.astype(acc) + np.log(total)
    return (out / total if late_division or r.sums_what_is_cast else out), lse


def _merge(parts: list[tuple[Array, Array]], r: Roundings) -> Array:
    """The mean of the parts by their log-sum-exps, all of it in the accumulator's format."""
    assert r.partials
    acc = r.accumulate.numpy
    outs, lses = (np.stack(each) for each in zip(*parts, strict=True))
    base = lses.max(axis=0)
    base = np.where(np.isneginf(base), acc.type(0), base)
    if r.merges_by_lse:
        total = np.exp(lses - base).sum(axis=0, dtype=acc)
        base = base + np.log(np.where(total == 0, acc.type(1), total))
    shares = np.exp(lses - base)
    total, out = np.zeros(shares.shape[1:], acc), np.zeros(outs.shape[1:], acc)
    for share, part in zip(shares, outs.astype(r.partials.numpy).astype(acc), strict=True):
        total = _rounded(total, share.astype(np.float64), r)
        out = _rounded(out, share.astype(np.float64) * part, r)
    return out if r.merges_by_lse else out / np.where(total == 0, acc.type(1), total)


def _rounded(total: Array, term: Array, r: Roundings) -> Array:
    """``total + term`` as the accumulator keeps it: to nearest in two roundings, or toward zero in one."""
    if r.unit == r.accumulate.unit:
        return total + term.astype(total.dtype)
    exact = total.astype(np.float64) + term
    nearest = exact.astype(total.dtype)
    too_far = np.abs(nearest.astype(np.float64)) > np.abs(exact)
    return np.where(too_far, np.nextafter(nearest, total.dtype.type(0)), nearest)
