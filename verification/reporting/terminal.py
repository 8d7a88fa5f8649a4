"""A run on a screen, or plainly in a log: how fast, what was found, how long it still takes; at the end, all of it."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from verification.records.failure import Failure
from verification.reporting.broken import render_failure
from verification.reporting.events import Event, LawBroken, RoundEnded, RunEnded, RunStarted
from verification.reporting.pace import Pace
from verification.reporting.summary import Summary
from verification.reporting.tables import law_table, matrix_table

# Seconds between two lines of a log.
_EVERY = 5.0


class Terminal:
    """A bar where there is a terminal, and a line now and then where there is none."""

    def __init__(self, console: Console, began: float, table: str = "laws") -> None:
        self._console, self._began, self._table = console, began, table
        self._summary, self._pace, self._told = Summary(), Pace(began), 0.0
        columns = (TextColumn("{task.description}"), BarColumn(20), _Now(self._pace))
        self._bar = Progress(*columns, console=console, transient=True)

    def receive(self, event: Event) -> None:
        self._summary.receive(event)
        match event:
            case RunStarted():
                self._started(event)
            case RoundEnded(result):
                self._pace.problems += result.problems
                self._moved()
            case LawBroken(failure):
                self._pace.findings += 1
                self._console.print(_line(failure))
            case RunEnded():
                self._ended()

    def _started(self, run: RunStarted) -> None:
        self._pace.begin(run)
        outside = {name: value for name, value in run.machine.items() if name.startswith("outside ")}
        machine = ", ".join(f"{name} {value}" for name, value in run.machine.items() if name not in outside)
        budget = f"{run.minutes:g} minutes" if run.minutes else f"{run.examples} problems a cell"
        self._say(f"seed {run.seed}; {run.cells} cells, {budget}, {run.workers} workers; {machine}")
        for name, value in outside.items():
            self._say(f"{name} {value}")
        if self._console.is_terminal:
            self._bar.start()
            self._bar.add_task("fuzzing", total=1.0)

    def _moved(self) -> None:
        if self._console.is_terminal:
            self._bar.update(self._bar.task_ids[0], completed=self._pace.share())
        elif time.monotonic() - self._told >= _EVERY:
            self._told = time.monotonic()
            self._say(self._pace.line())

    def _ended(self) -> None:
        self._bar.stop()
        summary = self._summary
        results = [result for result in summary.results if not result.skipped]
        if self._table == "matrix" and summary.results:
            self._console.print(matrix_table(summary.results, "dtype x device x implementation"))
        else:
            for group in dict.fromkeys((result.device, result.implementation) for result in results):
                mine = [result for result in results if (result.device, result.implementation) == group]
                self._console.print(law_table(mine, " ".join(group)))
        for failures in _by_implementation(summary.failures):
            clearest = min(failures, key=lambda each: (each.difference is None, each.finding.problem.num_tokens))
            self._console.print(render_failure(clearest))
            if len(failures) > 1:
                self._console.print(_others([failure for failure in failures if failure is not clearest]))
        seconds = time.monotonic() - self._began
        self._say(f"{summary.totals()}; {seconds:.0f} s, {summary.problems / seconds:.0f} problems/s")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)


class _Now(ProgressColumn):
    """The line of a `Pace`, as of now: the time left runs down between two events."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:  # noqa: ARG002 (there is one)
        return Text(self._pace.line())


def _line(failure: Failure) -> Text:
    """As soon as it is known; whole where there is no file of it, since it may be lost with the screen."""
    finding = failure.finding
    said = (finding.message.splitlines() or [""])[0]
    text = Text(f"BROKEN {finding.law}", style="bold red")
    text.append(f" by {finding.backend} on {finding.device}, {finding.problem.dtype}: {said}", style="not bold default")
    where = f"NOT KEPT in {failure.not_kept}: {finding.to_line()}" if failure.not_kept else failure.kept
    return text.append(f"\n  {where}", style="not bold default")


def _by_implementation(failures: list[Failure]) -> list[list[Failure]]:
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.finding.backend, failure.finding.device), []).append(failure)
    return list(groups.values())


def _others(failures: list[Failure]) -> Table:
    """A line each: one bug breaks many laws, and one report is enough to find it."""
    table = Table("broken as well", "dtype", "tokens", "kept in", title="`attn-verify replay FILE` tells all of it")
    for failure in failures:
        problem = failure.finding.problem
        row = (failure.finding.law, problem.dtype, str(problem.num_tokens), failure.kept or "(see above)")
        table.add_row(*map(Text, row))
    return table
