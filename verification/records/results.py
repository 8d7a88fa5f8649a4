"""What a run has to tell: one record a cell (law x dtype x device x implementation), plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any


@dataclass(frozen=True)
class CellResult:
    """``problems`` were tried, ``outside`` of them the law said nothing about; ``score`` is the largest err/bound.

    ``digest`` is equal where the same problems were tried. ``histogram`` counts problems by score, where the law
    measures one. ``failure`` says how the law broke, ``skipped`` why the cell could not run; both are empty for one
    that passed. ``found_after`` is the part of ``seconds`` that went by until the failure was found; the rest went
    into making it small.
    """

    law: str
    dtype: str
    device: str
    implementation: str
    problems: int = 0
    outside: int = 0
    score: float = 0.0
    seconds: float = 0.0
    found_after: float = 0.0
    digest: int = 0
    histogram: tuple[int, ...] = ()
    failure: str = ""
    skipped: str = ""

    @property
    def cell(self) -> tuple[str, str, str, str]:
        return self.law, self.dtype, self.device, self.implementation

    @property
    def verified(self) -> int:
        return self.problems - self.outside

    def __add__(self, other: CellResult) -> CellResult:
        """Two rounds of one cell."""
        return replace(
            self,
            problems=self.problems + other.problems,
            outside=self.outside + other.outside,
            score=max(self.score, other.score),
            seconds=self.seconds + other.seconds,
            found_after=self.found_after + other.found_after,
            digest=(self.digest + other.digest) % 2**64,
            histogram=added(self.histogram, other.histogram),
            failure=self.failure or other.failure,
            skipped=self.skipped and other.skipped,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Histograms; an empty one is of nothing."""
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))
