"""Pace of a run: how far it has come, how fast it goes, and how long it still takes."""

from __future__ import annotations

import time

from verification.records.results import REPLAY, CellResult, Identity
from verification.reporting.events import RunStarted


class Pace:
    """Counts what a reporter hears of. ``began`` is when the process started, by `time.monotonic`."""

    def __init__(self, began: float) -> None:
        self.findings = 0
        self.start_up: float | None = None
        """Seconds until the first problem could be asked; None as long as none can."""
        self._began = began
        self._run = RunStarted("", 0)
        self._tried: dict[Identity, CellResult] = {}

    def begin(self, run: RunStarted) -> None:
        """Take note of the budget and of the cells that share it."""
        self._run = run

    def ready(self, start_up: float) -> None:
        """Take note of how long the start took: the budget begins behind it."""
        self.start_up = start_up

    def count(self, result: CellResult) -> None:
        """Take note of a round."""
        if not result.problems:
            return
        before = self._tried.get(result.cell)
        self._tried[result.cell] = before + result if before else result

    @property
    def problems(self) -> int:
        """Return how many problems were tried."""
        return sum(result.problems for result in self._tried.values())

    def share(self) -> float:
        """Return which part of the budget is spent."""
        if self._run.minutes:
            return min(1.0, self._spent() / (60 * self._run.minutes))
        left = sum(self._problems_left(cell) for cell in self._run.cells)
        return self.problems / (self.problems + left) if self.problems else 0.0

    def line(self) -> str:
        """Return all of it in a few words."""
        rate = self.problems / max(self._spent(), 0.1)
        found = f"{self.findings} finding{'' if self.findings == 1 else 's'}"
        return f"[{_clock(self._elapsed())}] {self.problems:,} problems, {rate:.0f}/s, {found}, {self._outlook()}"

    def _outlook(self) -> str:
        """Return how long it still takes: what a budget of minutes leaves, and no more. What so many problems a cell
        take is not known before each was reached: cells differ a hundredfold.
        """
        if self.start_up is None:
            return "starting"
        reached = sum(cell in self._tried for cell in self._run.cells)
        waiting = reached < len(self._run.cells)
        said = [f"{reached} of {len(self._run.cells)} cells reached"] if waiting else []
        if self._run.minutes:
            said.insert(0, f"{_clock(60 * self._run.minutes - self._spent())} left")
        elif not waiting:
            said.append(f"{_clock(self._seconds_left())} left")
        return ", ".join(said)

    def _seconds_left(self) -> float:
        """Return how long the problems that are left take, each cell at its own speed."""
        tried = self._tried.items()
        work = sum(self._problems_left(cell) * result.seconds / result.problems for cell, result in tried)
        return work / self._run.workers

    def _problems_left(self, cell: Identity) -> int:
        """Return how many problems of a budget of examples are left; none once the law broke."""
        tried = self._tried.get(cell, CellResult(*cell))
        if tried.law == REPLAY or tried.failure:
            return 0
        return max(0, (self._run.examples or 0) - tried.problems)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _spent(self) -> float:
        """Return how many seconds of the budget are gone: none before the first problem could be asked."""
        return 0.0 if self.start_up is None else max(0.0, self._elapsed() - self.start_up)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02}"


def started_in(seconds: float, minutes: float | None) -> str:
    """Return what a run says once its first problem can be asked."""
    budget = f"; the {minutes:g} minutes begin here" if minutes else ""
    return f"started in {seconds:.0f} s{budget}"
