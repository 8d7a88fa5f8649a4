"""How scores (err/bound) are distributed, in bins that add up over runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Half octaves: the bins are 0, up to 2^-12, between two of the edges, and above 1.
EDGES = 2.0 ** (np.arange(-24, 1) / 2)
BINS = len(EDGES) + 2


def histogram(scores: Sequence[float] | NDArray[np.float64]) -> tuple[int, ...]:
    """Counts of zeros, of scores up to the first edge, up to the second, ..., and above 1."""
    held = np.asarray(scores, np.float64)
    # Half-open on the left, so that a score of exactly 1 is no alarm.
    bins = np.where(held > 0, 1 + np.searchsorted(EDGES, held, side="left"), 0)
    return tuple(np.bincount(bins, minlength=BINS).tolist())
