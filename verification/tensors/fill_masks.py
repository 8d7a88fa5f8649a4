"""The mask and the sinks of a problem, from streams of their own: with or without one, all others are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.problem import Problem
from verification.problem.formats import FORMATS

_STREAMS = 0x5C0, 0x51C, 0xB11
Array = NDArray[Any]


def make_masks(problem: Problem) -> dict[str, Array]:
    """``mask`` and ``sinks`` in the problem's dtype, those that it has. Every row of a mask shows the first
    key, which every row sees that sees any; but for blind ones, two in five and at least one.
    """
    rng, of_sinks, of_blind = (np.random.default_rng((problem.seed, stream)) for stream in _STREAMS)
    fmt, found = FORMATS[problem.dtype].numpy, dict[str, Array]()
    if problem.scoring.mask and problem.query_lens:
        shape = problem.scoring.mask_shape(
            problem.num_sequences, problem.num_heads, problem.query_lens[0], problem.key_lens[0]
        )
        shown = rng.random(shape) < 0.7
        shown[..., 0] = True
        if problem.scoring.blind_rows:
            blind = of_blind.random(shape[:-1]) < 0.4
            shown[blind if blind.any() else ~blind] = False
        found["mask"] = shown
        if problem.scoring.mask == "float":
            # Sixteenths are exact in every format.
            found["mask"] = np.where(shown, rng.integers(-32, 33, shape) / 16, -np.inf).astype(fmt)
    if problem.scoring.sinks:
        found["sinks"] = (of_sinks.integers(-32, 33, problem.num_heads) / 16).astype(fmt)
    return found
