"""Plant every fault of the catalogue, hunt it with the ordinary laws, and report how long it lived.

``python -m benchmarks.power.faults [--seed N] [--workers N] [--fault ID ...] [--without ID ...]
[--reports DIR]``. Exits with 1 if a fault survives or a law breaks on an honest implementation.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import sys
import time
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from benchmarks.power.honest import list_honest_on_cpu
from benchmarks.power.workers import open_pool
from properties.run.hunt import ROUNDS, hunt
from properties.run.session import cores
from verification.backends.flags import recorded_flags
from verification.faults import FAULTS
from verification.problem.describe import describe
from verification.problem.json_io import to_json
from verification.reporting.events import Event, FaultHunted, RunEnded, RunStarted
from verification.reporting.lines import to_line


@dataclass(frozen=True)
class Row:
    """The result of one hunt."""

    id: str
    """Name of the fault, or of the honest implementation."""
    honest: bool
    """True for an honest implementation, which is a control."""
    killed: bool
    """True if a law broke."""
    law: str
    """Name of the law that broke; empty if none did."""
    dtype: str
    """Format of the problem that it broke on; empty if none did."""
    problems: int
    """Number of checks of a law, up to the one that broke."""
    seconds: float
    """Time until a law broke, or of the whole hunt."""
    tokens: int
    """Number of tokens of the minimal problem."""
    minimal: dict[str, Any] | None
    """The minimal problem as JSON; None if no law broke."""
    words: str
    """The minimal problem in words."""

    @property
    def as_it_should_be(self) -> bool:
        """Return True for a fault that was killed and for an honest implementation that was not."""
        return self.killed is not self.honest


def hunt_by_name(name: str, base_seed: int) -> Row:
    """Hunt the fault, or the honest implementation, of that name: a planted fault does not travel between processes."""
    honest = name not in FAULTS
    backend = list_honest_on_cpu()[name] if honest else FAULTS[name].backend()
    # A control survives every round, so it gets the first alone: false alarms have a session of their own.
    found = hunt(backend, base_seed, ROUNDS[:1] if honest else ROUNDS)
    if found.kill is None or found.broken is None:
        return Row(name, honest, False, "", "", found.problems, found.seconds, 0, None, "")
    problem = found.broken.problem
    words = "; ".join(describe(problem).splitlines())
    minimal = json.loads(to_json(problem))
    law, dtype = found.kill.law, found.kill.dtype
    return Row(name, honest, True, law, dtype, found.problems, found.seconds, problem.num_tokens, minimal, words)


def make_table(rows: list[Row]) -> Table:
    """Return a table with a line for each hunt."""
    shown = Table("fault", "killed by", "dtype", "problems", "seconds", "tokens", title="planted faults")
    for row in rows:
        verdict = row.law or ("[green]honest, no alarm[/]" if row.honest else "[bold red]SURVIVED[/]")
        if row.honest and row.killed:
            verdict = f"[bold red]FALSE ALARM[/] {row.law}"
        size = str(row.tokens) if row.killed else ""
        shown.add_row(row.id, verdict, row.dtype, f"{row.problems:,}", f"{row.seconds:.2f}", size)
    return shown


def make_markdown(rows: list[Row], seed: int) -> str:
    """Return the table as a page, with each minimal problem in words."""
    lines = [
        f"# Planted faults, seed {seed}\n",
        describe_totals(rows),
        "\n| fault | what is wrong | from | killed by | problems | seconds | tokens |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row.honest:
            verdict = f"FALSE ALARM {row.law}" if row.killed else "(honest: no alarm)"
            lines.append(f"| {row.id} | | | {verdict} | {row.problems:,} | {row.seconds:.1f} | |")
        else:
            fault = FAULTS[row.id]
            measured = f"{row.law or 'SURVIVED'} | {row.problems:,} | {row.seconds:.2f} | {row.tokens}"
            lines.append(f"| {row.id} | {' '.join(fault.sentence.split())} | {fault.citation or '-'} | {measured} |")
    lines += ["\n## The minimal problems\n", *(f"- **{row.id}**: {row.words}" for row in rows if row.killed)]
    return "\n".join(lines) + "\n"


def describe_totals(rows: list[Row]) -> str:
    """Return one line that sums up all hunts."""
    planted, controls = [r for r in rows if not r.honest], [r for r in rows if r.honest]
    killed = [r for r in planted if r.killed]
    parts = [f"{len(killed)} of {len(planted)} faults killed"]
    if killed:
        sizes = [r.tokens for r in killed]
        parts.append(f"minimal problems of {statistics.median(sizes):g} tokens at the median, {max(sizes)} at most")
        parts.append(f"{statistics.median(r.problems for r in killed):g} problems at the median")
    alarms = sum(r.killed for r in controls)
    parts.append(f"{alarms} false alarms in {sum(r.problems for r in controls):,} problems of {len(controls)} controls")
    return "; ".join(parts)


def write_reports(reports: Path, rows: list[Row], run: dict[str, Any]) -> None:
    """Write the reports of a run.

    - ``faults.json``: the faults, as a list
    - ``faults-run.json``: the faults and the controls, and how the run was made
    - ``faults.md``: the page
    - ``faults.jsonl``: the faults as events, for ``attn-verify report``
    """
    reports.mkdir(parents=True, exist_ok=True)
    data = [asdict(row) for row in rows]
    planted = [row for row in data if not row["honest"]]
    (reports / "faults.json").write_text(json.dumps(planted, indent=1))
    (reports / "faults-run.json").write_text(json.dumps({**run, "flags": recorded_flags(), "rows": data}, indent=1))
    (reports / "faults.md").write_text(make_markdown(rows, run["seed"]))
    (reports / "faults.jsonl").write_text("".join(f"{to_line(event)}\n" for event in list_events(rows, run)))


def list_events(rows: list[Row], run: dict[str, Any]) -> list[Event]:
    """Return the hunts as the events of a run like any other."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    started = RunStarted(now, run["seed"], "nox -s faults", workers=run["workers"], machine=recorded_flags())
    hunts: list[Event] = [
        FaultHunted(
            row.id,
            " ".join(FAULTS[row.id].sentence.split()),
            FAULTS[row.id].citation,
            row.law,
            row.dtype,
            row.problems,
            row.seconds,
            row.tokens,
            row.words,
        )
        for row in rows
        if not row.honest
    ]
    return [started, *hunts, RunEnded(run["seconds"], 0 if all(row.as_it_should_be for row in rows) else 1)]


def main(arguments: list[str] | None = None) -> int:
    """Hunt every fault and every control, write the reports and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--workers", type=int)
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this one; may be repeated")
    parser.add_argument("--without", action="append", default=[], choices=list(FAULTS), help="not this one; likewise")
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    options = parser.parse_args(arguments)
    hunted = [name for name in options.fault or FAULTS if name not in options.without]
    names = [*hunted, *list_honest_on_cpu()]
    console, start, rows = Console(width=None if sys.stdout.isatty() else 120), time.monotonic(), {}
    with (
        open_pool(options.workers) as workers,
        Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress,
    ):
        task = progress.add_task("hunting", total=len(names))
        # The controls take longest: a hunt that finds nothing uses its whole budget.
        for done in as_completed([workers.submit(hunt_by_name, name, options.seed) for name in reversed(names)]):
            row = done.result()
            rows[row.id] = row
            progress.advance(task)
            verdict = f"killed by {row.law}" if row.killed else "survived"
            style = "" if row.as_it_should_be else "bold red"
            line = f"[{len(rows):>2}/{len(names)}] {row.id:<24} {verdict}, {row.problems:,} problems"
            progress.console.print(line, style=style, markup=False, highlight=False)
    ordered = [rows[name] for name in names]
    seconds = time.monotonic() - start
    write_reports(
        options.reports, ordered, {"seed": options.seed, "seconds": seconds, "workers": options.workers or cores()}
    )
    console.print(make_table(ordered))
    for row in ordered:
        if row.killed:
            console.print(f"[bold]{row.id}[/]: {row.words}", highlight=False)
    console.print(f"seed {options.seed}; {describe_totals(ordered)}; {seconds:.0f} s", highlight=False)
    return 0 if all(row.as_it_should_be for row in ordered) else 1


if __name__ == "__main__":
    sys.exit(main())
