"""Summary of a run, or of several runs together: all that reports at the end are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from verification.records.coverage import Coverage, LeftOut
from verification.records.failure import Failure
from verification.records.results import CellResult, Identity, State
from verification.reporting.events import (
    CauseSpread,
    Event,
    FaultHunted,
    LawBroken,
    RoundEnded,
    RunEnded,
    RunReady,
    RunStarted,
    WorkerLost,
)
from verification.reporting.tally import counts, tally


class Summary:
    """Reporter that adds up. Cells of one name are one cell, whichever run they come from; a cell that a run named
    when it started, and told no more of, was not reached.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.runs: list[RunStarted] = []
        self.starts: list[RunReady] = []
        self.endings: list[RunEnded] = []
        self.failures: list[Failure] = []
        self.faults: list[FaultHunted] = []
        self.lost: list[WorkerLost] = []
        self._cells: dict[Identity, CellResult] = {}
        for event in events:
            self.receive(event)

    def receive(self, event: Event) -> None:
        """Add one event. What `CellEnded` tells is known already."""
        match event:
            case RunStarted():
                self.runs.append(event)
                for cell in event.cells:
                    self._add(CellResult(*cell))
            case RunReady():
                self.starts.append(event)
            case RoundEnded(result):
                self._add(result)
            case LawBroken(failure):
                name = failure.finding.file_name  # a replay and a round may find one
                self.failures = [it for it in self.failures if it.finding.file_name not in (failure.instead_of, name)]
                self.failures.append(failure)
                self.failures.sort(key=self._place)
            case CauseSpread():
                self._spread(event)
            case FaultHunted():
                self.faults.append(event)
            case WorkerLost():
                self.lost.append(event)
            case RunEnded():
                self.endings.append(event)

    def _place(self, failure: Failure) -> int:
        """Return the place of a failure's law in the run's order, the simplest first."""
        laws = list(dict.fromkeys(law for law, *_ in self._cells))
        return laws.index(failure.finding.law) if failure.finding.law in laws else len(laws)

    def _spread(self, event: CauseSpread) -> None:
        """Add cells to the failure by whose cause they break."""
        for i, failure in enumerate(self.failures):
            if failure.finding.file_name == event.finding:
                cells = dict.fromkeys((*failure.broken, *event.cells))
                self.failures[i] = replace(failure, cells=tuple(cells))

    def _add(self, result: CellResult) -> None:
        before = self._cells.get(result.cell)
        self._cells[result.cell] = before + result if before else result

    def result(self, cell: Identity) -> CellResult:
        """Return what a cell has come to so far."""
        return self._cells.get(cell, CellResult(*cell))

    @property
    def results(self) -> list[CellResult]:
        """Return one result for each cell."""
        return list(self._cells.values())

    @property
    def states(self) -> dict[State, int]:
        """Return how many cells came to each state."""
        return counts(self._cells.values())

    @property
    def coverage(self) -> Coverage | None:
        """Return what was tried together, in all runs that have ended."""
        held = [ending.coverage for ending in self.endings if ending.coverage]
        return sum(held[1:], held[0]) if held else None

    @property
    def problems(self) -> int:
        """Return how many problems were tried."""
        return sum(result.problems for result in self._cells.values())

    @property
    def verified(self) -> int:
        """Return how many of them were verified: their law said something."""
        return sum(result.verified for result in self._cells.values())

    @property
    def seconds(self) -> float:
        """Return the wall time of all runs, their starts included."""
        return sum(ending.seconds for ending in self.endings)

    @property
    def start_up(self) -> float:
        """Return how much of it went by before the first problem of a run could be asked."""
        return sum(start.seconds for start in self.starts)

    @property
    def left_out(self) -> LeftOut:
        """Return for each kind of call that was asked the labels that it cannot have; empty where that is not known."""
        if not all(run.left_out for run in self.runs):
            return ()
        return tuple(dict.fromkeys(labels for run in self.runs for labels in run.left_out))

    @property
    def interrupted(self) -> bool:
        """Return whether a person ended a run."""
        return any(ending.interrupted for ending in self.endings)

    @property
    def unended(self) -> int:
        """Return how many runs did not end."""
        return max(0, len(self.runs) - len(self.endings))

    @property
    def error(self) -> str:
        """Return what ended a run before its time; empty where nothing did."""
        return next((ending.error for ending in self.endings if ending.error), "")

    @property
    def why_not_reached(self) -> str:
        """Return why cells were not reached, where some were not."""
        if self.unended:
            return "the run did not end"
        if self.error:
            return "the run died first"
        if any(ending.at_first for ending in self.endings):
            return "the run ended at its first finding, as asked"
        return "the run was interrupted first" if self.interrupted else "the budget ended first"

    def totals(self) -> str:
        """Return one line: problems, a digest of them for each device, equal where the same ones were tried, and what
        the cells came to.
        """
        outside = self.problems - self.verified
        seeds = ", ".join(str(run.seed) for run in self.runs)
        parts = [f"seed {seeds}", f"{self.problems:,} problems, {outside:,} of them outside their law"]
        for device in dict.fromkeys(result.device for result in self._cells.values()):
            tried = [result for result in self._cells.values() if result.device == device and result.problems]
            if tried:
                parts.append(f"{device}: digest {_digest(tried):016x}")
        if self.starts:
            parts.append(f"started in {self.start_up:.0f} s")
        parts.append(tally(self.results))
        return "; ".join(parts)


def _digest(results: Sequence[CellResult]) -> int:
    return sum(result.digest for result in results if result.law != "devices_agree") % 2**64
