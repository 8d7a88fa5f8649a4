"""The difference of an output from the exact one: its worst element, and what all its wrong elements have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.problem.table import AXIS_NAMES, OUTPUTS

Array = NDArray[Any]


@dataclass(frozen=True)
class Element:
    """One element of an output."""

    at: tuple[tuple[str, int], ...]
    """Its place, an index for each axis by name: sequence, token of that sequence, query head, dim."""
    got: float
    exact: float
    bound: float
    output: str = "out"

    @property
    def sequence(self) -> int:
        return self.index("sequence")

    @property
    def token(self) -> int:
        return self.index("token")

    def index(self, axis: str) -> int:
        """Return its index on an axis; 0 where its output has no such axis."""
        return dict(self.at).get(axis, 0)

    @property
    def where(self) -> str:
        """Return its place in words, after the output's name where there are others."""
        place = ", ".join(f"{axis} {index}" for axis, index in self.at)
        return place if self.output == "out" else f"{self.output}: {place}"

    def __str__(self) -> str:
        return f"{self.where}: got {self.got!r}, expected {self.exact!r} within {self.bound:.3g}"


@dataclass(frozen=True)
class Difference:
    """Counts of the wrong elements of an output, by kind."""

    worst: Element
    """The element to show."""
    elements: int
    """How many elements the output has."""
    wrong: int
    """How many of them are wrong."""
    above: int
    """Wrong numbers that are too large."""
    below: int
    """Wrong numbers that are too small."""
    nan: int
    """NaN where something else is owed."""
    inf: int
    """Infinities where another number is owed."""
    number: int
    """Finite numbers where NaN or Inf is owed, and infinities where NaN is."""
    mean_error: float
    """Mean of got - exact over the wrong numbers. Errors of one sign point to a bias, errors that cancel to a
    permutation or to noise.
    """


def difference(
    wrong: Array,
    output: Array,
    exact: Array,
    bound: Array | float,
    worst: int,
    query_lens: Sequence[int],
    name: str = "out",
) -> Difference:
    """Describe elements of the output ``name``: ``wrong`` marks at least one; ``worst`` is the flat index of the one to
    show. All arrays have the output's shape.
    """
    got, owed = output[wrong].astype(np.float64), exact[wrong].astype(np.float64)
    numbers = np.isfinite(got) & np.isfinite(owed)
    nan = np.isnan(got) & ~np.isnan(owed)
    inf = np.isinf(got) & (got != owed) & ~np.isnan(owed)
    errors = got[numbers] - owed[numbers]
    index = tuple(int(i) for i in np.unravel_index(worst, output.shape))
    limit = float(np.broadcast_to(bound, output.shape)[index])
    return Difference(
        worst=Element(_place(index, name, query_lens), float(output[index]), float(exact[index]), limit, name),
        elements=wrong.size,
        wrong=len(got),
        above=int((errors > 0).sum()),
        below=int((errors < 0).sum()),
        nan=int(nan.sum()),
        inf=int(inf.sum()),
        number=len(got) - int((numbers | nan | inf).sum()),
        mean_error=float(errors.mean()) if len(errors) else 0.0,
    )


def _place(index: tuple[int, ...], name: str, query_lens: Sequence[int]) -> tuple[tuple[str, int], ...]:
    """Name each index by its axis; the first, a row, is a token of a sequence."""
    row, *others = index
    ends = np.cumsum(query_lens)
    sequence = int(np.searchsorted(ends, row, side="right"))
    token = row - (int(ends[sequence - 1]) if sequence else 0)
    axes = (AXIS_NAMES[axis] for axis in OUTPUTS[name].axes[1:])
    return (("sequence", sequence), ("token", token), *zip(axes, others, strict=True))
