"""The reference of one sequence, cut along its heads: by NumPy, or by torch in float64 on a device.

Heads of queries that read one kv head are its rows, so that no key is copied for them. `attn_core` shares none of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat.torch as torch_namespace
import numpy as np
import torch
from numpy.typing import NDArray

from verification.oracle.precision import Roundings
from verification.oracle.reference import Attended, attend
from verification.oracle.rows import Rows
from verification.problem.formats import FORMATS

Array = NDArray[Any]
# Most bytes of a device that a piece of several heads takes, whatever the problem: 256 MiB.
MOST_BYTES = 2**28
# Numbers that are alive at once for each score, and for each number of a key or value: a test measures them.
_FOR_A_SCORE, _FOR_A_KEY = 18, 8
# Most scores, and most numbers of keys, of a piece on a processor: in float64 a few arrays of that size stay in its
# cache.
_IN_CACHE = 2**15, 2**17
_BITS = {"bfloat16": np.int16}


@dataclass(frozen=True)
class Piece:
    """Some heads of a sequence: either of one kv head, or all of several kv heads."""

    heads: slice
    """Heads of queries."""
    kv_heads: slice
    """Heads of keys that they read."""


def attend_by_heads(
    device: str | None,
    q: Array,
    k: Array,
    v: Array,
    counts: Array,
    scale: float,
    roundings: Roundings,
    rows: Rows | None = None,
) -> Attended:
    """Return the exact answer to ``q [Lq, H, D]``, ``k`` and ``v [Lk, G, D]``, and its bound, in arrays of NumPy.

    It is computed by NumPy, or by torch on ``device``, unless that has no memory left. Query head ``h`` reads kv head
    ``h // (H / G)``; ``counts`` and ``rows`` are those of `attend`.
    """
    if rows is not None and rows.sinks is not None:  # each head has its own, so that none shares its keys with another
        kv_head = np.arange(q.shape[1]) // (q.shape[1] // k.shape[1])
        k, v = k[:, kv_head], v[:, kv_head]
    (queries, heads, dim), keys = q.shape, k.shape[0]
    pieces = list(cut_heads(heads, k.shape[1], queries, keys, dim, device is not None))
    try:
        done = [_attend_piece(device, q, k, v, counts, scale, roundings, rows, piece) for piece in pieces]
    except torch.OutOfMemoryError:  # backends fill a device, in other processes too
        return attend_by_heads(None, q, k, v, counts, scale, roundings, rows)
    return _join(done) if len(done) > 1 else done[0]


def cut_heads(heads: int, kv_heads: int, queries: int, keys: int, dim: int, on_device: bool) -> Iterator[Piece]:
    """Yield the pieces of a sequence, each as large as fits: into `MOST_BYTES` on a device, into a cache elsewhere. One
    head is a piece however large it is.
    """
    group, scores, numbers = heads // kv_heads, queries * keys, keys * dim
    if on_device:
        of_keys = 8 * _FOR_A_KEY * numbers
        of_head = 8 * _FOR_A_SCORE * (scores + queries * dim)
        whole = MOST_BYTES // max(1, of_keys + group * of_head)
        part = (MOST_BYTES - of_keys) // max(1, of_head)
    else:
        most_scores, most_numbers = _IN_CACHE
        whole = min(most_scores // max(1, group * scores), most_numbers // max(1, numbers))
        part = max(most_scores, numbers) // max(1, scores)  # keys are looked at once more for each piece
    if whole:
        for first in range(0, kv_heads, whole):
            last = min(first + whole, kv_heads)
            yield Piece(slice(first * group, last * group), slice(first, last))
        return
    step = min(max(1, part), group)
    for kv_head in range(kv_heads):
        for first in range(kv_head * group, (kv_head + 1) * group, step):
            yield Piece(slice(first, min(first + step, (kv_head + 1) * group)), slice(kv_head, kv_head + 1))


def _attend_piece(
    device: str | None,
    q: Array,
    k: Array,
    v: Array,
    counts: Array,
    scale: float,
    roundings: Roundings,
    rows: Rows | None,
    piece: Piece,
) -> Attended:
    heads, kv_heads = (part.stop - part.start for part in (piece.heads, piece.kv_heads))
    queries, group = len(q), heads // kv_heads
    counts = np.tile(counts, group)

    def as_rows(x: Array) -> Array:  # [H, Lq, ...] -> [G, H / G * Lq, ...]
        return x[piece.heads].reshape(kv_heads, group * queries, *x.shape[2:])

    if rows is not None:
        bias = None if rows.bias is None else as_rows(rows.bias)
        sinks = None if rows.sinks is None else rows.sinks[piece.heads]
        rows = replace(rows, visible=as_rows(rows.visible), bias=bias, sinks=sinks)
    keys, values = k[:, piece.kv_heads], v[:, piece.kv_heads]
    q = as_rows(q.swapaxes(0, 1))
    if device is None:
        found = attend(np, q.astype(np.float64), _by_heads(keys), _by_heads(values), counts, scale, roundings, rows)
        return _as_heads(found, heads, queries)
    if rows is not None:
        arrays = {name: move(x, device) for name, x in vars(rows).items() if isinstance(x, np.ndarray)}
        rows = replace(rows, **arrays)  # type: ignore[arg-type]
    q_there = move(q, device).double()
    k_there, v_there = (move(x, device).double().transpose(0, 1) for x in (keys, values))
    found = attend(torch_namespace, q_there, k_there, v_there, move(counts, device), scale, roundings, rows)
    outputs = {name: (exact.cpu().numpy(), bound.cpu().numpy()) for name, (exact, bound) in found.outputs.items()}
    moved = Attended(outputs, *(x.cpu().numpy() for x in (found.scores, found.scores_bound, found.weights)))
    return _as_heads(moved, heads, queries)


def _by_heads(x: Array) -> Array:
    """Return ``[L, G, D]`` as ``[G, L, D]`` in float64."""
    return x.astype(np.float64).swapaxes(0, 1)


def move(x: Array, device: str) -> torch.Tensor:
    """Return an array on a device, in its own format: narrow ones are widened there."""
    bits = _BITS.get(x.dtype.name)
    moved = torch.from_numpy(np.ascontiguousarray(x).view(bits or x.dtype)).to(device)
    return moved.view(FORMATS[x.dtype.name].torch) if bits else moved


def _as_heads(found: Attended, heads: int, queries: int) -> Attended:
    def as_heads(x: Array) -> Array:  # [G, H / G * Lq, ...] -> [H, Lq, ...]
        return x.reshape(heads, queries, *x.shape[2:])

    outputs = {name: (as_heads(exact), as_heads(bound)) for name, (exact, bound) in found.outputs.items()}
    return Attended(outputs, *map(as_heads, (found.scores, found.scores_bound, found.weights)))


def join_rows(several: list[Rows]) -> Rows:
    """Return the rows of sequences whose heads are put side by side."""
    first = several[0]
    if len(several) == 1:
        return first
    arrays = {
        name: np.concatenate([getattr(rows, name) for rows in several])
        for name, x in vars(first).items()
        if isinstance(x, np.ndarray)
    }
    return replace(first, **arrays)  # type: ignore[arg-type]


def split_heads(found: Attended, parts: int) -> list[Attended]:
    """Return the answers of sequences whose heads were put side by side."""
    if parts == 1:
        return [found]
    split = {name: [np.split(x, parts) for x in pair] for name, pair in found.outputs.items()}
    outputs = [{name: (exact[i], bound[i]) for name, (exact, bound) in split.items()} for i in range(parts)]
    others = (np.split(x, parts) for x in (found.scores, found.scores_bound, found.weights))
    return [Attended(*each) for each in zip(outputs, *others, strict=True)]


def _join(found: list[Attended]) -> Attended:
    outputs = {
        name: (_joined([x.outputs[name][0] for x in found]), _joined([x.outputs[name][1] for x in found]))
        for name in found[0].outputs
    }
    parts = ([getattr(x, name) for x in found] for name in ("scores", "scores_bound", "weights"))
    return Attended(outputs, *map(_joined, parts))


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts)
