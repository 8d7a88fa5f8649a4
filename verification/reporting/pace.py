"""How far a run has come, how fast it goes, and how long it still takes."""

from __future__ import annotations

import time

from verification.reporting.events import RunStarted


class Pace:
    """``began`` is of `time.monotonic`. Whoever hears of problems and findings counts them here."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._minutes: float | None = None
        self._total = 0
        self.problems = self.findings = 0

    def begin(self, run: RunStarted) -> None:
        """The budget is known."""
        self._minutes, self._total = run.minutes, run.cells * (run.examples or 0)

    def share(self) -> float:
        """Of the budget, what is spent."""
        if self._minutes:
            return min(1.0, self._elapsed() / (60 * self._minutes))
        return min(1.0, self.problems / self._total) if self._total else 0.0

    def line(self) -> str:
        """In a few words."""
        elapsed, share = self._elapsed(), self.share()
        left = f"{_clock(elapsed / share - elapsed)} left" if share else "starting"
        rate = self.problems / elapsed if elapsed else 0.0
        found = f"{self.findings} finding{'' if self.findings == 1 else 's'}"
        return f"[{_clock(elapsed)}] {self.problems:,} problems, {rate:.0f}/s, {found}, {left}"

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02}"
