"""Four rules and four generators on the same faults, in one run, and how small an error each rule sees.

``python -m benchmarks.power.power [--seed N] [--workers N] [--problems N] [--seconds N] [--curve N] [--fault ID ...]
[--reports DIR]`` writes ``power.json`` and ``sharpness.svg``. Exits with 1 if our rule raises a false alarm.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from benchmarks.power.honest import list_honest_on_cpu
from benchmarks.power.judges import count_false_alarms, draw_ours, try_rules
from benchmarks.power.plots import plot_sharpness
from benchmarks.power.rivals import GENERATORS, list_grid
from benchmarks.power.rules import RULES
from benchmarks.power.sharpness import DTYPES, ERRORS, PLACES, PROFILES, measure_sight
from benchmarks.power.workers import open_pool
from verification.backends.attn_core import AttnCore
from verification.backends.flags import recorded_flags, settle
from verification.faults import FAULTS, HONEST_SPLIT_DECODE

# `RULES` begins with our own.
OURS = next(iter(RULES))
# Where the problems come from on which rules are compared.
SOURCES = ("ours", "fixed grid")
Result = dict[str, Any]


def judge_fault(fault: str, source: str, seed: int, problems: int) -> Result:
    """Judge the outputs of a fault by every rule, beside those of its honest twin.

    A fault of merging has the honest merge as its twin.
    """
    backend = FAULTS[fault].backend()
    twin = HONEST_SPLIT_DECODE if len(FAULTS[fault].swaps) > 1 else AttnCore()
    tried = draw_ours(backend, seed, problems) if source == "ours" else list_grid()
    return {"fault": fault, "problems from": source, **asdict(try_rules(backend, twin, tried))}


def hunt_with_generator(fault: str, generator: str, seed: int, seconds: float) -> Result:
    """Hunt a fault with the problems of one generator; ``problems`` counts checks of a law."""
    found = GENERATORS[generator](FAULTS[fault].backend(), seed, seconds)
    law = found.kill.law if found.kill else ""
    return {"fault": fault, "generator": generator, "law": law, "problems": found.problems, "seconds": found.seconds}


def count_alarms(name: str, dtype: str, seed: int, problems: int) -> Result:
    """Count the false alarms of every rule on an honest implementation."""
    counted = count_false_alarms(list_honest_on_cpu()[name], dtype, seed, problems)
    return {"implementation": name, "dtype": dtype, "problems": counted["problems"], **{r: counted[r] for r in RULES}}


def measure_curve(profile: str, dtype: str, place: str, seed: int, problems: int) -> Result:
    """Measure one curve of sharpness."""
    return asdict(measure_sight(profile, dtype, place, seed, problems))


def list_jobs(options: argparse.Namespace) -> dict[str, list[Callable[[], Result]]]:
    """Return the jobs to do, by the part of the report that they are for."""
    faults, seed = options.fault or list(FAULTS), options.seed
    curves, names = list(product(PROFILES, DTYPES, PLACES)), product(list_honest_on_cpu(), DTYPES)
    return {
        "generators": [
            partial(hunt_with_generator, f, g, seed, options.seconds) for g, f in product(GENERATORS, faults)
        ],
        "judges": [partial(judge_fault, f, source, seed, options.problems) for source, f in product(SOURCES, faults)],
        # Alarms are rarer than finds, so they are looked for on four times as many problems.
        "alarms": [partial(count_alarms, name, dtype, seed, 4 * options.problems) for name, dtype in names],
        "sharpness": [partial(measure_curve, *curve, seed, options.curve) for curve in curves],
    }


def run(options: argparse.Namespace, workers: ProcessPoolExecutor, progress: Progress) -> dict[str, list[Result]]:
    """Run all jobs and return their results, in the order of `list_jobs`."""
    futures = {part: [workers.submit(job) for job in todo] for part, todo in list_jobs(options).items()}
    tasks: dict[Future[Result], Any] = {}
    for part, waiting in futures.items():
        task = progress.add_task(part, total=len(waiting))
        tasks |= dict.fromkeys(waiting, task)
    for done in as_completed(tasks):
        progress.advance(tasks[done])
        if progress.tasks[tasks[done]].finished:
            progress.console.print(f"done: {progress.tasks[tasks[done]].description}")
    return {part: [future.result() for future in waiting] for part, waiting in futures.items()}


def write_reports(reports: Path, results: dict[str, list[Result]], seed: int) -> None:
    """Write ``power.json`` and the figure of sharpness."""
    reports.mkdir(parents=True, exist_ok=True)
    report = {"flags": recorded_flags(), "seed": seed, "errors": ERRORS, **results}
    (reports / "power.json").write_text(json.dumps(report, indent=1))
    plot_sharpness(results["sharpness"], ERRORS, reports / "sharpness.svg")


def make_generator_table(results: list[Result]) -> Table:
    """Return a table of the faults that each generator killed, and of its time: a survivor costs the whole budget."""
    table = Table("generator", "faults killed", "checks to kill, median", "seconds, all", title="generators")
    for name in GENERATORS:
        mine = [r for r in results if r["generator"] == name]
        checks = sorted(r["problems"] for r in mine if r["law"])
        median = str(checks[len(checks) // 2]) if checks else "-"
        table.add_row(name, f"{len(checks)} of {len(mine)}", median, f"{sum(r['seconds'] for r in mine):.0f}")
    return table


def make_judge_table(results: list[Result], alarms: list[Result]) -> Table:
    """Return a table of the faults that each rule saw, of those that show in an output of ours at all.

    A fault that a rule does not see costs the rule all of the time.
    """
    visible = {r["fault"] for r in results if r["visible"]}
    columns = [
        f"{what}, {source}" for source in SOURCES for what in ("faults seen", "problems, median", "seconds, all")
    ]
    table = Table("rule", *columns, "false alarms", title="rules, same outputs")
    for name in RULES:
        cells = []
        for source in SOURCES:
            mine = [r for r in results if r["problems from"] == source and r["fault"] in visible]
            found = sorted(r["found"][name] for r in mine if name in r["found"])
            median = str(found[len(found) // 2]) if found else "-"
            cells += [f"{len(found)} of {len(mine)}", median, f"{sum(r['seconds'][name] for r in mine):.1f}"]
        wrong, tried = (sum(r[key] for r in alarms) for key in (name, "problems"))
        table.add_row(name, *cells, f"{wrong:,} in {tried:,}")
    return table


def make_sharpness_table(results: list[Result]) -> Table:
    """Return a table of the least error that each rule saw."""
    table = Table("profile", "dtype", "error in", *RULES, title="smallest relative error seen")
    for r in results:
        values = (f"{r['smallest'][rule]:.1e}" if r["smallest"][rule] else "none" for rule in RULES)
        table.add_row(r["profile"], r["dtype"], r["place"], *values)
    return table


def main(arguments: list[str] | None = None) -> int:
    """Run all parts, write the reports, print the tables and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--problems", type=int, default=600, help="for each fault and rule")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each fault and rival generator")
    parser.add_argument("--curve", type=int, default=48, help="problems for each curve of sharpness")
    parser.add_argument("--fault", action="append", choices=list(FAULTS))
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    options = parser.parse_args(arguments)
    settle()
    start = time.monotonic()
    with (
        open_pool(options.workers) as workers,
        Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress,
    ):
        results = run(options, workers, progress)
    write_reports(options.reports, results, options.seed)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(make_generator_table(results["generators"]))
    console.print(make_judge_table(results["judges"], results["alarms"]))
    console.print(make_sharpness_table(results["sharpness"]))
    console.print(f"seed {options.seed}; {time.monotonic() - start:.0f} s", highlight=False)
    return int(any(r[OURS] for r in results["alarms"]))


if __name__ == "__main__":
    sys.exit(main())
