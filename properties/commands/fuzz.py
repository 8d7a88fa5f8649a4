"""``attn-verify fuzz``: a plan from the options, reporters for it, and the run."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from properties.commands.console import open_console
from properties.commands.errors import UsageError
from properties.commands.output import take_stdout
from properties.run.cells import Cell, cells
from properties.run.plan import Plan
from properties.run.session import NOT_VERIFIED, NOTHING, cores, run
from verification.backends.devices import ask_early
from verification.backends.documented import AS_DOCUMENTED
from verification.backends.flags import settle
from verification.catalogue import DEVICES
from verification.problem.formats import DTYPES
from verification.records.findings import CORPUS, load_folder
from verification.reporting.events import Reporter
from verification.reporting.files import Files
from verification.reporting.json_lines import JsonLines
from verification.reporting.sharp import Sharp
from verification.reporting.terminal import Terminal

DEFAULT_EXAMPLES = 500


def run_fuzz(
    began: float,
    *,
    minutes: float | None,
    examples: int | None,
    seed: int | None,
    only: Sequence[str],
    dtypes: Sequence[str],
    devices: Sequence[str],
    backends: Sequence[str],
    workers: int | None,
    require_cuda: bool,
    sharp: bool,
    partial: bool,
    stop_at_first: bool,
    table: str,
    findings: Path,
    corpus: Path | None,
    reports: Path,
    crash_after: float | None,
    json: bool,
) -> int:
    """Run the cells that the options ask for, and return the exit code.

    It is 3 where nothing was found, but a report could not be written. Raises UsageError, UnknownBackend, ProblemError
    and WorkerDied.
    """
    _check_budget(minutes, examples)
    _check_choices(dtypes, devices, table)
    corpus = corpus or CORPUS
    load_folder(corpus)  # raises for a file that cannot be read, before a worker does
    stdout = take_stdout() if json else sys.stdout
    console = open_console(stderr=json)
    # First of all, so that whatever goes wrong from here on leaves no reports of an earlier run in their place.
    files = _open_files(reports, console)
    try:
        chosen = _choose_cells(_find_cells(backends, devices, crash_after, sharp=sharp), dtypes, only)
    except BaseException:
        files.close()
        raise
    settle()  # when all is loaded that stays
    plan = Plan(
        cells=chosen,
        seed=secrets.randbelow(2**32) if seed is None else seed,
        examples=None if minutes else examples or DEFAULT_EXAMPLES,
        minutes=minutes,
        began=began,
        workers=workers or cores(),
        findings=findings,
        corpus=corpus,
        require_cuda=require_cuda,
        partial=partial,
        stop_at_first=stop_at_first,
        crash_after=crash_after,
        command=" ".join(["attn-verify", *sys.argv[1:]]),
    )
    sharpened = [Sharp(console, AS_DOCUMENTED)] if sharp else []
    reporters: list[Reporter] = [Terminal(console, began, table), *sharpened, files]
    code = run(plan, [*reporters, JsonLines(stdout)] if json else reporters)
    return NOT_VERIFIED if code == NOTHING and files.not_written else code


def _find_cells(
    backends: Sequence[str], devices: Sequence[str], crash_after: float | None, *, sharp: bool
) -> list[Cell]:
    """Return the cells of the backends. Raises UsageError where ``sharp`` asks for what none of them documents."""
    ask_early()  # for the devices, while the backends are loaded
    found = cells(backends, devices or DEVICES, crash_after, sharp=sharp)
    if sharp and not any(cell.source.endswith(AS_DOCUMENTED) for cell in found):
        asked = ", ".join(backends)
        raise UsageError(f"--sharp: {asked} (must state a `documented` precision that is not the declared one)")
    return found


def _check_budget(minutes: float | None, examples: int | None) -> None:
    """Raise UsageError where there are two."""
    if minutes is not None and examples is not None:
        raise UsageError(f"--minutes: {minutes:g} with --examples {examples} (one of them is the budget)")


def _check_choices(dtypes: Sequence[str], devices: Sequence[str], table: str) -> None:
    """Raise UsageError where an option has a value that is not among its choices."""
    for option, values, allowed in (
        ("--dtype", dtypes, DTYPES),
        ("--device", devices, DEVICES),
        ("--table", [table], ("laws", "matrix")),
    ):
        for value in values:
            if value not in allowed:
                raise UsageError(f"{option}: {value!r} (must be one of {', '.join(allowed)})")


def _open_files(folder: Path, console: Console) -> Files:
    """Return the reporter that writes files. Raises UsageError where it cannot write: then no run is begun."""
    step = os.environ.get("GITHUB_STEP_SUMMARY")

    def complain(line: str) -> None:
        console.print(line, style="bold red", markup=False, highlight=False)

    try:
        return Files(folder, complain, Path(step) if step else None)
    except OSError as error:
        raise UsageError(f"--reports: {error.filename or folder} ({error.strerror or error})") from None


def _choose_cells(found: list[Cell], dtypes: Sequence[str], only: Sequence[str]) -> list[Cell]:
    """Return the cells that the options ask for. Raises UsageError where there are none."""
    chosen = [
        cell
        for cell in found
        if (not dtypes or cell.dtype in dtypes) and (not only or any(text in cell.id for text in only))
    ]
    if not chosen:
        raise UsageError("no cell has what --only, --dtype, --device and --backend ask for (see `attn-verify laws`)")
    return chosen
