"""Extremes of what each row sees, beside a loop over rows."""

from __future__ import annotations

import array_api_compat.torch as torch_namespace
import numpy as np
import pytest
import torch

from verification.oracle.extremes import masked_extremes, prefix_extremes

RNG = np.random.default_rng(0)
VALUES = RNG.standard_normal((2, 9, 3))
POSITION = np.arange(9)
STARTS, ENDS = RNG.integers(0, 9, (2, 40, 1)), RNG.integers(0, 10, (2, 40, 1))
SPANS = (POSITION >= STARTS) & (POSITION < ENDS)
MASKS = {
    "spans": SPANS,
    "spans and a sink": SPANS | (POSITION == 8),
    "anything": RNG.integers(0, 2, (2, 40, 9)) > 0,
    "everything": np.ones((2, 40, 9), bool),
    "nothing": np.zeros((2, 40, 9), bool),
}


def in_loops(visible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high, low = np.zeros((2, 2, 40, 3))
    for h, a in np.ndindex(2, 40):
        if visible[h, a].any():
            seen = VALUES[h, visible[h, a]]
            high[h, a], low[h, a] = seen.max(axis=0), seen.min(axis=0)
    return high, low


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("in_torch", [False, True])
def test_what_a_mask_shows(name: str, in_torch: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly, a few rows at a time."""
    monkeypatch.setattr("verification.oracle.extremes._MOST_AT_ONCE", 200)
    visible = MASKS[name]
    xp, moved = (torch_namespace, torch.from_numpy) if in_torch else (np, np.asarray)
    found = masked_extremes(xp, moved(VALUES), moved(visible), moved(visible.sum(-1)))
    for one, other in zip(found, in_loops(visible), strict=True):
        assert np.array_equal(np.asarray(one), other)


@pytest.mark.parametrize("in_torch", [False, True])
def test_what_a_prefix_shows(in_torch: bool) -> None:
    counts = np.arange(1, 10)
    xp, moved = (torch_namespace, torch.from_numpy) if in_torch else (np, np.asarray)
    high, low = prefix_extremes(xp, moved(VALUES), moved(counts))
    for a, count in enumerate(counts):
        assert np.array_equal(np.asarray(high[:, a]), VALUES[:, :count].max(axis=1))
        assert np.array_equal(np.asarray(low[:, a]), VALUES[:, :count].min(axis=1))
