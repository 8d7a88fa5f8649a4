"""Time of a run, shared out among its cells: all have had as much, whatever a problem of each takes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from verification.records.results import CellResult, Identity

# A cell gets its share of the budget in so many slices: soon enough that all cells have several turns, and few enough
# that a turn is long beside its start and its end, which take 40 ms (Hypothesis, and the last look at late writes).
SLICES = 6
# Seconds. Below the least a turn would be little else than start and end. Above the most a run would tell too seldom
# how it goes, and workers would hear too late which causes others have found.
_LEAST, _MOST = 0.1, 5.0
# A turn may have so many times the problems that fit into its time by the pace so far, so that the time ends it. Not
# many more: Hypothesis keeps a tenth of them small, and those come first.
_SPARE = 1.25


class Turn(NamedTuple):
    """Limits of one round of a cell: it ends with the first that is reached, though not before its first problem."""

    examples: int
    seconds: float | None = None
    """None where the budget of the run is a number of problems."""


@dataclass
class Shares:
    """Shares of the cells of one run.

    Each round adds a slice to what a cell may use. A cell whose problems take longer than that has overdrawn, and waits
    until it may use half a slice again: so a slow cell has fewer turns, and neither more time nor less.
    """

    slice: float
    """Seconds that each round adds."""
    used: defaultdict[Identity, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds that each cell has had, those of turns that still last included."""
    promised: defaultdict[Identity, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds of each cell's turns that still last, the oldest first."""
    pace: dict[Identity, float] = field(default_factory=dict)
    """Problems a second, of each cell's fastest turn: in others a kernel was compiled, or a failure made small."""

    def turn(self, cell: Identity, round_: int, examples: int) -> Turn | None:
        """Return the turn of a cell in a round, or None where the cell has to wait. As long as nobody knows how fast
        the cell is, the turn has at most so many ``examples``.
        """
        seconds = (round_ + 1) * self.slice - self.used[cell]
        if seconds < self.slice / 2:
            return None
        self.used[cell] += seconds
        self.promised[cell].append(seconds)
        return Turn(ceil(_SPARE * seconds * self.pace[cell]) if cell in self.pace else examples, seconds)

    def take(self, result: CellResult) -> None:
        """Take note of how a turn ended: of the time that it had, and did not need or overdrew."""
        cell = result.cell
        if not self.promised[cell]:
            return  # no turn, as a replay of the corpus is none
        self.used[cell] += result.seconds - self.promised[cell].pop(0)
        if result.problems and result.seconds:
            self.pace[cell] = max(self.pace.get(cell, 0.0), result.problems / result.seconds)


def slice_of(minutes: float, workers: int, cells: int) -> float:
    """Return the seconds of a slice, in a run of so many minutes, workers and cells."""
    share = 60 * minutes * workers / max(1, cells)
    return min(_MOST, max(_LEAST, share / SLICES))
