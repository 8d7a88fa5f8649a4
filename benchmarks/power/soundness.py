"""The false-alarm run: honest implementations on fresh problems, where a ratio above 1 is the harness's own mistake.

``python -m benchmarks.power.soundness [--examples N] [--device cpu|cuda] [--dtype D ...] [--implementation NAME ...]
[--seed N] [--lambda X] [--workers N] [--reports DIR] [--require-cuda]`` writes ``soundness-DEVICE.json`` and ``.svg``.
N counts problems per implementation and dtype. Ctrl-C reports what was measured until then. Exits with 1 on a false
alarm and with 3 if nothing was run.
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.power.honest import list_honest
from benchmarks.power.measure import LAMBDA, Chunk, Sample, derive_seed, measure_chunk
from benchmarks.power.plots import plot_ratios
from benchmarks.power.results import Cell, make_size_table, make_soundness_table, say_total, summarise
from benchmarks.power.workers import open_pool
from verification.backends.flags import recorded_flags, settle
from verification.backends.protocol import Backend
from verification.catalogue import cannot_run
from verification.records.histogram import EDGES

DEVICES = ("cpu", "cuda")
# Problems of a job: about a second's work, so that progress is seen and no process works alone at the end.
_CHUNK = 400
# Exit codes; 2 is argparse's.
FALSE_ALARM, NOTHING_RUN = 1, 3
Backends = Callable[[], list[Backend]]


def list_cells(options: argparse.Namespace, backends: Backends) -> list[Cell]:
    """Return the cells that were asked for, empty as yet; a cell whose device is not here says so."""
    return [
        Cell(backend.name, backend.device, dtype, skipped=cannot_run(backend.device))
        for backend in backends()
        for dtype in backend.contract.dtypes
        if options.device in (None, backend.device)
        and (not options.dtype or dtype in options.dtype)
        and (not options.implementation or backend.name in options.implementation)
    ]


def split_into_chunks(cell: Cell, base_seed: int, examples: int, probabilistic: float) -> Iterator[Chunk]:
    """Yield the chunks of a cell."""
    for number, start in enumerate(range(0, examples, _CHUNK)):
        seed = derive_seed(base_seed, cell.dtype, number)
        size = min(_CHUNK, examples - start)
        yield Chunk(cell.implementation, cell.device, cell.dtype, seed, size, probabilistic)


def measure_cells(
    wanted: Sequence[Cell], options: argparse.Namespace, backends: Backends, console: Console
) -> list[Cell]:
    """Measure all cells, spread over processes; Ctrl-C ends it early."""
    samples: dict[tuple[str, str, str], list[Sample]] = {}
    todo = [
        c
        for cell in wanted
        if not cell.skipped
        for c in split_into_chunks(cell, options.seed, options.examples, options.probabilistic)
    ]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with open_pool(options.workers) as workers, Progress(*columns, console=console) as progress:
        task = progress.add_task("problems", total=sum(chunk.examples for chunk in todo))
        futures = {workers.submit(partial(measure_chunk, backends=backends), chunk): chunk for chunk in todo}
        try:
            for future in as_completed(futures):
                chunk, sample = futures[future], future.result()
                samples.setdefault(chunk.cell, []).append(sample)
                progress.advance(task, chunk.examples)
                if sum(len(s.ratios) for s in samples[chunk.cell]) == options.examples:
                    progress.console.print("done:", *chunk.cell, highlight=False)
                for alarm in sample.alarms[:1]:  # the others are in the report
                    said = f"FALSE ALARM {alarm.ratio:.4g} {alarm.message} {alarm.problem}"
                    progress.console.print(" ".join(chunk.cell), said, markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            console.print("stopped early")
        finally:
            workers.shutdown(cancel_futures=True)
    identity = [(cell.implementation, cell.device, cell.dtype) for cell in wanted]
    return [
        summarise(id_, samples[id_]) if id_ in samples else cell for id_, cell in zip(identity, wanted, strict=True)
    ]


def write_reports(measured: Sequence[Cell], options: argparse.Namespace, console: Console) -> None:
    """Print a table, and write a JSON file and a plot, for each device."""
    options.reports.mkdir(parents=True, exist_ok=True)
    for device in dict.fromkeys(cell.device for cell in measured):
        here = [cell for cell in measured if cell.device == device]
        console.print(
            make_soundness_table(here, f"{device}: {options.examples:,} problems a cell, seed {options.seed}")
        )
        if not any(cell.problems for cell in here):
            continue
        console.print(make_size_table(here, f"{device}, by profile of sizes"))
        content = {
            "seed": options.seed,
            "examples": options.examples,
            "lambda": options.probabilistic,
            "edges": EDGES.tolist(),
            "flags": recorded_flags(),
            "cells": [cell.to_dict() for cell in here],
        }
        path = options.reports / f"soundness-{device}.json"
        path.write_text(json.dumps(content, indent=1, allow_nan=False))
        plot_ratios([cell for cell in here if cell.first], path.with_suffix(".svg"))
        console.print(f"written: {path}, {path.with_suffix('.svg')}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; the seed is random unless given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--device", choices=DEVICES)
    parser.add_argument("--dtype", nargs="+", default=[])
    parser.add_argument("--implementation", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--lambda", type=float, default=LAMBDA, dest="probabilistic", help="of float32's second judge")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--reports", type=Path, default=Path("reports"))
    parser.add_argument("--require-cuda", action="store_true", help="fail where there is no CUDA device")
    options = parser.parse_args(arguments)
    options.seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    return options


def main(arguments: Sequence[str] | None = None, backends: Backends = list_honest) -> int:
    """Measure, report and return the exit code.

    ``backends`` must be importable: worker processes call it as well.
    """
    options, console = parse(arguments), Console(width=160)
    settle()  # the flags that the report records
    measured = measure_cells(list_cells(options, backends), options, backends, console)
    write_reports(measured, options, console)
    console.print(say_total(measured), highlight=False)
    if any(cell.first and cell.first.false_alarms for cell in measured):
        return FALSE_ALARM
    if options.require_cuda and cannot_run("cuda"):
        console.print("no CUDA device, and --require-cuda")
        return FALSE_ALARM
    return 0 if any(cell.problems for cell in measured) else NOTHING_RUN


if __name__ == "__main__":
    raise SystemExit(main())
