"""What a run, or several runs together, came to: all that reports at the end are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.results import CellResult
from verification.reporting.events import Event, FaultHunted, LawBroken, RoundEnded, RunEnded, RunStarted


class Summary:
    """A reporter that adds up. Cells of one name are one cell, whichever run they come from."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.runs: list[RunStarted] = []
        self.endings: list[RunEnded] = []
        self.failures: list[Failure] = []
        self.faults: list[FaultHunted] = []
        self._cells: dict[tuple[str, ...], CellResult] = {}
        for event in events:
            self.receive(event)

    def receive(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.runs.append(event)
            case RoundEnded(result):
                before = self._cells.get(result.cell)
                self._cells[result.cell] = before + result if before else result
            case LawBroken(failure):
                self.failures.append(failure)
            case FaultHunted():
                self.faults.append(event)
            case RunEnded():
                self.endings.append(event)

    @property
    def results(self) -> list[CellResult]:
        """One a cell."""
        return list(self._cells.values())

    @property
    def coverage(self) -> Coverage | None:
        """Of all runs that have ended."""
        held = [ending.coverage for ending in self.endings if ending.coverage]
        return sum(held[1:], held[0]) if held else None

    @property
    def problems(self) -> int:
        return sum(result.problems for result in self._cells.values())

    @property
    def verified(self) -> int:
        return sum(result.verified for result in self._cells.values())

    @property
    def seconds(self) -> float:
        """Wall time, of all runs."""
        return sum(ending.seconds for ending in self.endings)

    @property
    def interrupted(self) -> bool:
        return any(ending.interrupted for ending in self.endings)

    def devices(self) -> dict[str, tuple[list[CellResult], list[CellResult]]]:
        """By device: the cells that ran, and those that could not."""
        found: dict[str, tuple[list[CellResult], list[CellResult]]] = {}
        for result in self._cells.values():
            found.setdefault(result.device, ([], []))[bool(result.skipped)].append(result)
        return found

    def totals(self) -> str:
        """One line, with a digest of the problems: equal where the same ones were tried, on whatever device."""
        outside = self.problems - self.verified
        seeds = ", ".join(str(run.seed) for run in self.runs)
        parts = [f"seed {seeds}", f"{self.problems:,} problems, {outside:,} of them outside their law"]
        for device, (ran, missing) in self.devices().items():
            if ran:
                parts.append(f"{device}: {len(ran)} cells, digest {_digest(ran):016x}")
            if missing:
                parts.append(f"{device}: {len(missing)} cells NOT RUN ({missing[0].skipped})")
        broken = sum(bool(result.failure) for result in self._cells.values())
        parts.append(f"{broken} cells BROKEN" if broken else "no violation")
        if self.interrupted:
            parts.append("INTERRUPTED")
        return "; ".join(parts)


def _digest(results: Sequence[CellResult]) -> int:
    return sum(result.digest for result in results if result.law != "devices_agree") % 2**64
