"""Results of a run: one record for each cell (law x dtype x device x implementation), plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import zip_longest
from typing import Any

Identity = tuple[str, str, str, str]
"""Law, dtype, device and implementation of a cell."""

REPLAY = "corpus"
"""In the place of the law's name: the cell in which the corpus was replayed, under all laws."""

# Beside the word for a cell that says nothing: of more reasons than these the others are rare.
_MOST_REASONS = 3


class State(StrEnum):
    """Word for what became of a cell, the same in every report. Only `HELD` is a pass."""

    HELD = "held"
    """At least one problem was verified, and the law broke on none."""
    BROKEN = "broken"
    """The law broke."""
    SAYS_NOTHING = "says nothing"
    """Problems were tried, and every one of them was outside the law."""
    NOT_REACHED = "not reached"
    """The run ended before the first problem."""
    NOT_RUN = "not run"
    """The cell cannot run here: there is no such device or package."""


@dataclass(frozen=True)
class CellResult:
    """Record of what was tried in one cell, in one round or in all of them; empty for a cell that was not reached."""

    law: str
    """Name of the law."""
    dtype: str
    """Format of q, k and v."""
    device: str
    """Where it ran, ``"cpu"`` or ``"cuda"``."""
    implementation: str
    """Name of the backend."""
    problems: int = 0
    """How many problems were tried."""
    outside: int = 0
    """How many of them the law said nothing about."""
    ratio: float = 0.0
    """The largest err/bound, where the law measures one."""
    seconds: float = 0.0
    """How long it took, making a failing problem small included."""
    found_after: float = 0.0
    """The part of ``seconds`` that went by until the law broke."""
    digest: int = 0
    """A number that is equal where the same problems were tried."""
    histogram: tuple[int, ...] = ()
    """Counts of problems by ratio (`verification.records.histogram`), where the law measures one."""
    failure: str = ""
    """How the law broke."""
    skipped: str = ""
    """Why the cell cannot run."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Why the law said nothing, and about how many problems for that reason."""
    ended: str = ""
    """Why a cell is not asked further, as one that is broken; empty where it is."""

    @property
    def cell(self) -> Identity:
        """Return which cell it is."""
        return self.law, self.dtype, self.device, self.implementation

    @property
    def verified(self) -> int:
        """Return how many problems the law said something about."""
        return self.problems - self.outside

    @property
    def state(self) -> State:
        """Return what became of the cell."""
        if self.failure:
            return State.BROKEN
        if self.verified > 0:
            return State.HELD
        if self.problems:
            return State.SAYS_NOTHING
        return State.NOT_RUN if self.skipped else State.NOT_REACHED

    @property
    def why(self) -> str:
        """Return what goes with the word: how the law broke, why it says nothing, or why the cell cannot run."""
        match self.state:
            case State.BROKEN:
                return self.failure
            case State.SAYS_NOTHING:
                return "; ".join(self.frequent_reasons) or "every problem was outside the law"
        return self.skipped

    @property
    def frequent_reasons(self) -> list[str]:
        """Return the most frequent reasons for saying nothing, the most frequent first."""
        return [reason for reason, _ in Counter(self.reasons).most_common(_MOST_REASONS)]

    def __add__(self, other: CellResult) -> CellResult:
        """Return two rounds of one cell as one."""
        return replace(
            self,
            problems=self.problems + other.problems,
            outside=self.outside + other.outside,
            ratio=max(self.ratio, other.ratio),
            seconds=self.seconds + other.seconds,
            found_after=self.found_after + other.found_after,
            digest=(self.digest + other.digest) % 2**64,
            histogram=added(self.histogram, other.histogram),
            failure=self.failure or other.failure,
            skipped=self.skipped and other.skipped,
            reasons=dict(Counter(self.reasons) + Counter(other.reasons)),
            ended=self.ended or other.ended,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return asdict(self)


def added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sum of two histograms; an empty one is of nothing."""
    return tuple(a + b for a, b in zip_longest(one, other, fillvalue=0))
