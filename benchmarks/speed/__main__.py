"""The speed of the layer, beside what else one would pick and beside the machine's limit.

``python -m benchmarks.speed [--device cpu|cuda] [--phase prefill|decode|both] [--batch B ...] [--contexts LOW-HIGH ...]
[--block-size S ...] [--dtype D ...] [--contender NAME ...] [--full] [--min-seconds X] [--json F] [--markdown F] [--plot
F]``. ``python -m benchmarks.speed --harness`` times the fuzz harness instead. Exits with 1 if a row failed or one of
ours is wrong, with 3 if nothing was timed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from benchmarks.speed.contender import Contender
from benchmarks.speed.limits import Limits, measure_limits
from benchmarks.speed.others import list_others
from benchmarks.speed.ours import list_ours
from benchmarks.speed.race import release_memory, run_case
from benchmarks.speed.report import LEGEND, describe_total, make_json, make_markdown, make_table
from benchmarks.speed.results import Outcome, Row, count_rows, has_failed, mark_failed
from benchmarks.speed.sizes import DTYPES, Span, list_sizes
from benchmarks.speed.torchs import list_torchs
from verification.backends.flags import recorded_flags

# Exit codes; 2 is argparse's.
FAILED, NOTHING_RUN = 1, 3


def list_contenders() -> list[Contender]:
    """Return all contenders: ours, torch's, and those of other projects."""
    return [*list_ours(), *list_torchs(), *list_others()]


def parse_span(text: str) -> Span:
    """Parse ``512-8192``, or one length for all.

    Raises ArgumentTypeError for anything else.
    """
    low, _, high = text.partition("-")
    try:
        ends = int(low), int(high or low)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be LENGTH or LOW-HIGH") from None
    if not 1 <= ends[0] <= ends[1]:
        raise argparse.ArgumentTypeError(f"{text!r} must be at least 1, and rise")
    return ends


def parse(arguments: Sequence[str], known: Sequence[Contender]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--phase", choices=("prefill", "decode", "both"), default="both")
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": None}
    parser.add_argument("--batch", type=int, **several)
    parser.add_argument("--contexts", type=parse_span, metavar="LOW-HIGH", **several)
    parser.add_argument("--block-size", type=int, **several)
    parser.add_argument("--dtype", choices=DTYPES, **several)
    parser.add_argument("--contender", choices=[contender.name for contender in known], **several)
    parser.add_argument("--full", action="store_true", help="every combination of the sizes")
    parser.add_argument("--min-seconds", type=float, help="a contender, over all rounds")
    for report in ("json", "markdown", "plot"):
        parser.add_argument(f"--{report}", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.min_seconds is None:
        # Device events are steadier than a CPU's timings.
        options.min_seconds = 0.2 if options.device == "cuda" else 1.0
    return options


def describe_machine() -> dict[str, str]:
    """Return what is in force, and how busy the processor is: timings on a CPU are worth as much as that."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return recorded_flags() | {"cores": str(os.cpu_count()), "load average at the start": load}


def write_reports(outcomes: Sequence[Outcome], flags: dict[str, str], options: argparse.Namespace) -> None:
    """Write the reports; after every case, so that what was measured outlives what comes."""
    for path in filter(None, (options.json, options.markdown, options.plot)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if options.json:
        options.json.write_text(json.dumps(make_json(outcomes, flags), indent=1, allow_nan=False) + "\n")
    if options.markdown:
        options.markdown.write_text(make_markdown(outcomes, flags))
    if options.plot:
        from benchmarks.speed.plots import draw_plot  # matplotlib is needed for this alone

        draw_plot(outcomes, options.plot)


def run(options: argparse.Namespace, runners: Sequence[Contender], console: Console) -> list[Outcome]:
    """Time case by case, and show each when it is done."""
    flags, limits = describe_machine(), dict[str, Limits]()
    console.print(", ".join(f"{name} {value}" for name, value in flags.items()), highlight=False)
    console.print(LEGEND, highlight=False)
    outcomes = []
    with console.status("", refresh_per_second=1) as status:

        def said(text: str) -> None:
            status.update(escape(text))

        for size in list_sizes(options):
            if size.dtype not in limits:
                said(f"the machine's limits, {size.dtype}")
                limits[size.dtype] = measure_limits(size.device, size.dtype, options.min_seconds)
            try:
                outcome = run_case(size, runners, limits[size.dtype], options.min_seconds, said)
            except Exception as error:  # making the case, or its reference
                rows = tuple(mark_failed(Row(c.name, c.ours), error) for c in runners if size.phase in c.phases)
                outcome = Outcome(size, limits[size.dtype], rows)
            release_memory(size.device)
            outcomes.append(outcome)
            console.print(make_table(outcome))
            write_reports(outcomes, flags, options)
    return outcomes


def main(arguments: Sequence[str] | None = None, known: Sequence[Contender] | None = None) -> int:
    """Time what was asked for and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--harness" in arguments:
        from benchmarks.speed import harness  # it needs all that a fuzz run needs, and the rest torch and rich alone

        harness.main([argument for argument in arguments if argument != "--harness"])
        return 0
    known = list_contenders() if known is None else known
    options = parse(arguments, known)
    console = Console(width=None if sys.stdout.isatty() else 180)
    if options.device == "cuda" and not torch.cuda.is_available():
        console.print("no CUDA device: nothing was timed")
        return NOTHING_RUN
    start = time.monotonic()
    runners = [c for c in known if not options.contender or c.name in options.contender]
    outcomes = run(options, runners, console)
    console.print(f"{describe_total(outcomes)}; {time.monotonic() - start:.0f} s", highlight=False)
    if has_failed(outcomes):
        return FAILED
    return 0 if count_rows(outcomes)["timed"] else NOTHING_RUN


if __name__ == "__main__":
    sys.exit(main())
