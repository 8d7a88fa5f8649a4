"""Mask and sinks of a problem, drawn from random streams of their own: whether it has them changes no other number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.problem import Problem
from verification.problem.formats import FORMATS

# Any three numbers: each makes another stream from the problem's seed.
_MASK, _SINKS, _BLIND_ROWS = 0x5C0, 0x51C, 0xB11
Array = NDArray[Any]


def make_masks(problem: Problem) -> dict[str, Array]:
    """Return those of ``mask`` and ``sinks`` that the problem has, in its dtype (a "bool" mask is boolean).

    Each row of a mask shows key 0, so that no row is empty which causality leaves a key; with `Scoring.blind_rows`, two
    rows in five, at least one, show no key.
    """
    fmt, found = FORMATS[problem.dtype].numpy, dict[str, Array]()
    if problem.scoring.mask and problem.query_lens:
        shape = problem.scoring.mask_shape(
            problem.num_sequences, problem.num_heads, problem.query_lens[0], problem.key_lens[0]
        )
        rng = np.random.default_rng((problem.seed, _MASK))
        shown = rng.random(shape) < 0.7
        shown[..., 0] = True
        if problem.scoring.blind_rows:
            blind = np.random.default_rng((problem.seed, _BLIND_ROWS)).random(shape[:-1]) < 0.4
            shown[blind if blind.any() else ~blind] = False
        found["mask"] = shown
        if problem.scoring.mask == "float":
            # Sixteenths are exact in every format.
            found["mask"] = np.where(shown, rng.integers(-32, 33, shape) / 16, -np.inf).astype(fmt)
    if problem.scoring.sinks:
        rng = np.random.default_rng((problem.seed, _SINKS))
        found["sinks"] = (rng.integers(-32, 33, problem.num_heads) / 16).astype(fmt)
    return found
