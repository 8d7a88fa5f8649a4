"""Sight of a query: which keys it sees by causality, window and mask, for whoever draws a problem."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verification.oracle.difference import Element
from verification.problem import Problem
from verification.problem.visibility import visible_keys
from verification.tensors.fill_masks import make_masks

SEEN, HIDDEN, MASKED = "■", "·", "□"


class Sight(NamedTuple):
    """Sight of one query."""

    marks: str
    """One of `SEEN`, `HIDDEN` (by causality or a window) and `MASKED` for each key that is drawn."""
    num_seen: int
    """How many keys it sees, drawn or not."""


def list_sights(problem: Problem, sequence: int, head: int, queries: range, keys: range) -> list[Sight]:
    """Return the sight of these queries of a sequence of a prefill, for one query head, with marks for these keys."""
    shown, seen = _shown_by_mask(problem, sequence, head), visible_keys(problem, sequence)
    sights = []
    for query in queries:
        by_mask = shown[query] if shown is not None else np.ones(problem.key_lens[sequence], bool)
        marks = (HIDDEN if key not in seen[query] else SEEN if by_mask[key] else MASKED for key in keys)
        sights.append(Sight("".join(marks), int(by_mask[seen[query].start : seen[query].stop].sum())))
    return sights


def head_drawn(problem: Problem, wrong: Element | None) -> int:
    """Return the head whose sight is drawn: that of the wrong element, where heads have masks of their own."""
    of_heads = problem.scoring.mask and "h" in problem.scoring.mask_axes and problem.num_heads > 1
    return wrong.index("head") if wrong and of_heads else 0


def describe_marks(problem: Problem, head: int) -> str:
    """Return the meaning of the marks."""
    mask = f", {MASKED} hidden by the mask" if problem.scoring.mask else ""
    of_heads = mask and "h" in problem.scoring.mask_axes and problem.num_heads > 1
    return f"{SEEN} seen, {HIDDEN} hidden{mask}{f'; head {head}' if of_heads else ''}"


def _shown_by_mask(problem: Problem, sequence: int, head: int) -> NDArray[Any] | None:
    """Return ``[Lq, Lk]``, True where the mask shows a key; None without a mask."""
    mask = make_masks(problem).get("mask") if problem.scoring.mask else None
    if mask is None:
        return None
    shape = problem.num_sequences, problem.num_heads, problem.query_lens[sequence], problem.key_lens[sequence]
    shown = mask if mask.dtype == bool else mask.astype(np.float64) > -np.inf
    found: NDArray[Any] = np.broadcast_to(shown, shape)[sequence, head]
    return found
