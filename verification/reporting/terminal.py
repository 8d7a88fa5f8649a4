"""Runs on a screen, or plainly in a log: how fast, what was found, how long it still takes; at the end, all of it."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from verification.records.failure import Failure
from verification.records.results import State
from verification.reporting.broken import render_failure
from verification.reporting.events import Event, LawBroken, RoundEnded, RunEnded, RunReady, RunStarted, WorkerLost
from verification.reporting.headline import headline
from verification.reporting.pace import Pace, started_in
from verification.reporting.summary import Summary
from verification.reporting.tables import folding, law_table, matrix_table
from verification.reporting.tally import ended_early, names, silent

# Seconds between two lines of a log.
_EVERY = 5.0
# Findings of an implementation that are told whole; a line each for more.
_WHOLE = 5


class Terminal:
    """Shows a bar where there is a terminal, and prints a line now and then where there is none."""

    def __init__(self, console: Console, began: float, table: str = "laws") -> None:
        self._console, self._table = console, table
        self._summary, self._pace, self._told = Summary(), Pace(began), 0.0
        columns = (TextColumn("{task.description}"), BarColumn(20), _Now(self._pace))
        self._bar = Progress(*columns, console=console, transient=True)

    def receive(self, event: Event) -> None:
        self._summary.receive(event)
        match event:
            case RunStarted():
                self._started(event)
            case RunReady(seconds):
                self._pace.ready(seconds)
                self._say(started_in(seconds, self._summary.runs[-1].minutes))
            case RoundEnded(result) if result.problems:
                self._pace.count(result)
                self._moved()
            case LawBroken(failure):
                self._pace.findings += 1
                self._console.print(_line(failure))
            case WorkerLost():
                self._say(str(event))
            case RunEnded():
                self._ended(event)

    def _started(self, run: RunStarted) -> None:
        self._pace.begin(run)
        outside = {name: value for name, value in run.machine.items() if name.startswith("outside ")}
        machine = ", ".join(f"{name} {value}" for name, value in run.machine.items() if name not in outside)
        budget = f"{run.minutes:g} minutes" if run.minutes else f"{run.examples} problems a cell"
        self._say(f"seed {run.seed}; {len(run.cells)} cells, {budget}, {run.workers} workers; {machine}")
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

    def _ended(self, end: RunEnded) -> None:
        self._bar.stop()
        self._tables()
        self._failures()
        self._others_than_held()
        if end.error:
            self._say(f"the run died: {end.error}")
        self._say(self._summary.totals())
        started = self._pace.start_up is not None
        start = f"{self._pace.start_up:.0f} of them start-up, " if started else ""
        rate = self._summary.problems / max(end.seconds, 0.1)
        spent = f"{rate:.0f} problems/s" if self._summary.problems else "no problem finished by then"
        pace = f"{end.seconds:.0f} s, {start}{spent}"
        self._say(f"{headline(self._summary).text}; exit code {end.exit_code}; {pace}")

    def _tables(self) -> None:
        results = self._summary.results
        if self._table == "matrix" and results:
            self._console.print(matrix_table(results, "dtype x device x implementation", self._console.width))
            return
        results = [result for result in results if result.state is not State.NOT_RUN]
        for group in dict.fromkeys((result.device, result.implementation) for result in results):
            mine = [result for result in results if (result.device, result.implementation) == group]
            self._console.print(law_table(mine, " ".join(group), self._console.width))

    def _others_than_held(self) -> None:
        """Print which cells verified nothing, and why."""
        for why, silent_ones in silent(self._summary.results).items():
            self._say(f"{State.SAYS_NOTHING}: {' '.join(silent_ones)}: {why}")
        if unreached := names(self._summary.results, State.NOT_REACHED):
            self._say(f"{State.NOT_REACHED}, since {self._summary.why_not_reached}: {' '.join(unreached)}")
        for why, ended in ended_early(self._summary.results).items():
            self._say(f"{why}: {' '.join(ended)}")

    def _failures(self) -> None:
        for failures in _by_implementation(self._summary.failures):
            for failure in failures[:_WHOLE]:
                self._console.print(render_failure(failure))
            if len(failures) > _WHOLE:
                self._console.print(_others(failures[_WHOLE:]))

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)


class _Now(ProgressColumn):
    """Shows the line of a `Pace`, as of now: the time left runs down between two events."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        super().__init__(Column(overflow="fold"))

    def render(self, task: Task) -> Text:  # noqa: ARG002 (there is one)
        return Text(self._pace.line())


def _line(failure: Failure) -> Text:
    """Return a line about a finding; all of it where there is no file of it, since it may be lost with the screen."""
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
    """Return a table with a line for each."""
    table = folding("broken as well", "dtype", "tokens", "kept in", title="`attn-verify replay FILE` tells all of it")
    for failure in failures:
        problem = failure.finding.problem
        row = (failure.finding.law, problem.dtype, str(problem.num_tokens), failure.kept or "(see above)")
        table.add_row(*map(Text, row))
    return table
