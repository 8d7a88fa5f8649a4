"""Rows of one sequence under `Scoring`: which keys they see, their exact scores, and by how much those may be off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from verification.oracle.precision import Roundings
from verification.problem.scoring import positions, slopes
from verification.problem.visibility import context_positions
from verification.tensors.inputs import Inputs

Namespace = Any
Array = Any


@dataclass(frozen=True)
class Rows:
    """Rows of one sequence: the keys that they see, and all that is done to their scores."""

    visible: Array
    """``[H, Lq, Lk]``: True where a query sees a key."""
    softcap: float = 0.0
    """0 stands for none."""
    bias: Array | None = None
    """``[H, Lq, Lk]``: finite numbers that are added to the scores, of alibi and of a float mask."""
    sinks: Array | None = None
    """``[H]``."""


def make_rows(inputs: Inputs, i: int, counts: Array, num_keys: int) -> Rows | None:
    """Return the rows of sequence ``i``, whose queries would see the first ``counts [Lq]`` keys by causality alone.

    Returns None where `Scoring` changes neither the keys that they see nor, beyond the scale, the scores.
    """
    problem, scoring = inputs.problem, inputs.problem.scoring
    if not scoring.shapes_rows:
        return None
    place, key = positions(len(counts), num_keys, problem.causal_alignment), np.arange(num_keys)
    visible = np.broadcast_to(key < counts[:, None], (problem.num_heads, len(counts), num_keys))
    if problem.reads_cache:
        context, table = int(inputs.context_lens[i]) if len(counts) else 0, inputs.block_tables[i]
        place = context - len(counts) + np.arange(len(counts))
        key = context_positions(context, table, problem.block_size, problem.num_blocks)
    distance = place[:, None] - key
    if scoring.window:
        visible = visible & (distance < scoring.window)
    bias = -slopes(problem.num_heads).astype(np.float64)[:, None, None] * distance if scoring.alibi else None
    if inputs.mask is not None:
        mask = inputs.mask[i if len(inputs.mask) > 1 else 0]
        shown = mask if scoring.mask == "bool" else mask != -np.inf
        visible = visible & shown
        if scoring.mask == "float":
            bias = (0.0 if bias is None else bias) + np.where(shown, mask.astype(np.float64), 0.0)
    if bias is not None:
        bias = np.broadcast_to(bias, visible.shape)
    sinks = None if inputs.sinks is None else inputs.sinks.astype(np.float64)
    return Rows(visible, scoring.softcap, bias, sinks)


def apply_scoring(xp: Namespace, scores: Array, error: Array, rows: Rows, r: Roundings) -> tuple[Array, Array]:
    """Return the scores and their bound after softcap and bias; `docs/error-bound.md` derives the terms."""
    if rows.softcap:
        scores, error = _capped(xp, scores, error, rows.softcap, r)
    if rows.bias is not None:
        scores = scores + rows.bias
        rounding = 2 * r.total_unit * xp.abs(rows.bias) + (r.total_unit + r.scores_cast) * xp.abs(scores)
        error = error + xp.where(xp.isfinite(scores), rounding, 0.0)
    return scores, error


def add_sinks(
    xp: Namespace, scores: Array, error: Array, v: Array, rows: Rows, r: Roundings
) -> tuple[Array, Array, Array, Array]:
    """Return scores, their bound, values and visibility, with the sink as one more key whose value is 0."""
    if rows.sinks is None:
        return scores, error, v, rows.visible
    heads, queries, _ = scores.shape
    sink = xp.broadcast_to(rows.sinks[:, None, None], (heads, queries, 1))
    of_sink = (2 * r.total_unit + r.scores_cast) * xp.abs(sink)
    seen = xp.ones((heads, queries, 1), dtype=xp.bool, device=scores.device)
    nothing = xp.zeros((heads, 1, v.shape[-1]), dtype=v.dtype, device=v.device)
    pairs = ((scores, sink), (error, of_sink), (rows.visible, seen))
    scores, error, visible = (xp.concat(pair, axis=-1) for pair in pairs)
    return scores, error, xp.concat([v, nothing], axis=1), visible


def _capped(xp: Namespace, scores: Array, error: Array, cap: float, r: Roundings) -> tuple[Array, Array]:
    """Return ``c tanh(s / c)`` and its bound.

    Its slope is at most the slope at the score nearest to 0 that may be meant by ``s``.
    """
    out = cap * xp.tanh(scores / cap)
    nearest = xp.abs(scores) - error
    slope = 1 - xp.tanh(xp.where(nearest > 0, nearest, 0.0) / cap) ** 2
    size = xp.where(xp.isfinite(scores), xp.abs(scores), 0.0)
    moved = slope * (xp.where(xp.isfinite(error), error, 0.0) + 3 * r.total_unit * size)
    moved = moved + (6 * r.total_unit + r.scores_cast) * xp.where(xp.isnan(out), 0.0, xp.abs(out))
    moved = xp.where(moved < 2 * cap, moved, 2 * cap)
    return out, xp.where(xp.isinf(error), xp.inf, xp.where(xp.isnan(out), 0.0, moved))
