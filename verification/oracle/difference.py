"""How an output differs from what it should be: where it is worst, and what all its wrong elements have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Element:
    """One output element: ``token`` of ``sequence``, query head, dim."""

    sequence: int
    token: int
    head: int
    dim: int
    got: float
    exact: float
    bound: float

    @property
    def where(self) -> str:
        return f"sequence {self.sequence}, token {self.token}, head {self.head}, dim {self.dim}"

    def __str__(self) -> str:
        return f"{self.where}: got {self.got!r}, expected {self.exact!r} within {self.bound:.3g}"


@dataclass(frozen=True)
class Difference:
    """Of ``elements`` in all, ``wrong`` ones: numbers ``above`` and ``below`` the exact ones, ``nan`` and ``inf`` where
    something else is owed, and a ``number`` where NaN or Inf is. ``mean_error`` is the mean of got - exact over
    the wrong numbers: errors of one sign point to a bias, errors that cancel to a permutation or to noise.
    """

    worst: Element
    elements: int
    wrong: int
    above: int
    below: int
    nan: int
    inf: int
    number: int
    mean_error: float


def difference(
    wrong: Array, output: Array, exact: Array, bound: Array | float, worst: int, query_lens: Sequence[int]
) -> Difference:
    """``wrong [T, H, D]`` marks at least one element; ``worst`` is the flat index of the one to show."""
    got, owed = output[wrong].astype(np.float64), exact[wrong].astype(np.float64)
    numbers = np.isfinite(got) & np.isfinite(owed)
    nan = np.isnan(got) & ~np.isnan(owed)
    inf = np.isinf(got) & (got != owed) & ~np.isnan(owed)
    errors = got[numbers] - owed[numbers]
    return Difference(
        worst=_element(worst, output, exact, bound, query_lens),
        elements=wrong.size,
        wrong=len(got),
        above=int((errors > 0).sum()),
        below=int((errors < 0).sum()),
        nan=int(nan.sum()),
        inf=int(inf.sum()),
        number=len(got) - int((numbers | nan | inf).sum()),
        mean_error=float(errors.mean()) if len(errors) else 0.0,
    )


def _element(flat_index: int, output: Array, exact: Array, bound: Array | float, query_lens: Sequence[int]) -> Element:
    row, head, dim = (int(i) for i in np.unravel_index(flat_index, output.shape))
    limit = np.broadcast_to(bound, output.shape)[row, head, dim]
    ends = np.cumsum(query_lens)
    sequence = int(np.searchsorted(ends, row, side="right"))
    token = row - (int(ends[sequence - 1]) if sequence else 0)
    found, owed = float(output[row, head, dim]), float(exact[row, head, dim])
    return Element(sequence, token, head, dim, found, owed, float(limit))
