"""Histograms of ratios (err/bound), in bins that add up over runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Half octaves: the bins are 0, up to 2^-12, between two of the edges, and above 1.
EDGES = 2.0 ** (np.arange(-24, 1) / 2)
BINS = len(EDGES) + 2


def histogram(ratios: Sequence[float] | NDArray[np.float64]) -> tuple[int, ...]:
    """Return counts of zeros, of ratios up to the first edge, up to the second, ..., and above 1."""
    held = np.asarray(ratios, np.float64)
    # Half-open on the left, so that a ratio of exactly 1 is no alarm.
    bins = np.where(held > 0, 1 + np.searchsorted(EDGES, held, side="left"), 0)
    return tuple(np.bincount(bins, minlength=BINS).tolist())
