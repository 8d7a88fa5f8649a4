"""The command line, ``attn-verify``: its commands and their options. `properties.commands` does the work.

Exit codes: 0 nothing was found; 1 a law is broken; 2 the options make no sense; 3 nothing could be verified, or not all
that was asked; 130 the run was interrupted before anything was found.
"""

from __future__ import annotations

import functools
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

# The wall time of a run counts from here, since a person waits while torch is loaded.
BEGAN = time.monotonic()

app = typer.Typer(
    name="attn-verify",
    help="Is this paged-attention kernel right? Exit codes: 0 nothing found, 1 violation, 2 usage, 3 not verified.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Json = Annotated[bool, typer.Option("--json", help="for machines, on standard output")]
Backends = Annotated[
    list[str] | None, typer.Option("--backend", help="an implementation, a planted fault, or module:attribute")
]
Trusted = Annotated[
    bool,
    typer.Option(
        "--trusted",
        help="import and ask other people's backends in our own process: faster, and no protection from them",
    ),
]
CrashAfter = Annotated[float, typer.Option(min=0.1, help="seconds without an answer that count as a crash")]
Devices = Annotated[list[str] | None, typer.Option("--device", help="cpu, cuda; may be repeated")]


def exit_with_code(command: Callable[..., int]) -> Callable[..., None]:
    """Make a command print expected errors in one line, any other with its traceback, and end with an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        stdout = sys.stdout
        _load_quickly()
        try:
            _start_nursery(kwargs)
            # Imported here, so that `--help` and a misspelt option need not wait for torch; Ctrl-C may come meanwhile.
            from properties.commands.errors import EXIT_CODES, told

            try:
                code = command(*args, **kwargs)
            except tuple(EXIT_CODES) as error:
                typer.echo(told(error), err=True)
                code = EXIT_CODES[type(error)]
        except KeyboardInterrupt:
            code = 130
        except Exception:  # a bug of ours or of an adapter is no violation, so it must not end with exit code 1
            from verification.problem.printable import printable

            typer.echo(printable(traceback.format_exc()), err=True, nl=False)
            code = 3
        finally:
            gc.enable()
            sys.stdout = stdout
        raise typer.Exit(code)

    return run


def _load_quickly() -> None:
    """Have modules loaded without two things that took a fifth of the start: a search for garbage, of which there is
    none yet, and one for plugins of Hypothesis in all installed packages. No plugin may change what equal seeds draw.
    """
    gc.disable()  # `settle` switches it on
    os.environ["HYPOTHESIS_NO_PLUGINS"] = "1"


def _start_nursery(options: dict[str, Any]) -> None:
    """Start the process that other people's backends are forked from, so that it loads torch while this one does."""
    named = options.get("backend") or options.get("backends") or []
    if any(":" in name for name in ([named] if isinstance(named, str) else named)) and not options.get("trusted"):
        from verification.isolation.nursery import start_early

        start_early()


@app.command()
@exit_with_code
def fuzz(
    minutes: Annotated[float | None, typer.Option(min=0.05, help="time from the first problem to the end")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="problems a cell (default 500)")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="repeats a run; by default fresh, and printed")] = None,
    only: Annotated[
        list[str] | None, typer.Option("-k", "--only", help="cells with this in law-dtype-device-implementation")
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="may be repeated")] = None,
    device: Devices = None,
    backend: Backends = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes (default: one a core)")] = None,
    require_cuda: Annotated[bool, typer.Option("--require-cuda", help="fail where there is no CUDA device")] = False,
    sharp: Annotated[
        bool,
        typer.Option("--sharp", help="judge by the documented precision too; list what only the declared one allows"),
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="the budget may end before every cell was reached: no exit code 3 for it")
    ] = False,
    stop_at_first: Annotated[bool, typer.Option("--stop-at-first", help="end the run at its first finding")] = False,
    table: Annotated[str, typer.Option(help="laws or matrix")] = "laws",
    findings: Annotated[Path, typer.Option(help="keeps what breaks a law")] = Path("findings"),
    corpus: Annotated[Path | None, typer.Option(help="is run_replay first (default: the one shipped with us)")] = None,
    reports: Annotated[Path, typer.Option(help="gets run.jsonl, junit.xml, summary.md, index.html")] = Path("reports"),
    trusted: Trusted = False,
    crash_after: CrashAfter = 30.0,
    json: Json = False,
) -> int:
    """Try every law on fresh problems: rounds of all cells (law x dtype x device x implementation)."""
    from properties.commands.fuzz import run_fuzz

    return run_fuzz(
        BEGAN,
        minutes=minutes,
        examples=examples,
        seed=seed,
        only=only or [],
        dtypes=dtype or [],
        devices=device or [],
        backends=backend or ["attn_core/eager"],
        workers=workers,
        require_cuda=require_cuda,
        sharp=sharp,
        partial=partial,
        stop_at_first=stop_at_first,
        table=table,
        findings=findings,
        corpus=corpus,
        reports=reports,
        crash_after=None if trusted else crash_after,
        json=json,
    )


@app.command()
@exit_with_code
def replay(
    problem: Annotated[list[str], typer.Argument(help="files of findings or problems, or a problem as JSON")],
    backend: Annotated[str, typer.Option(help="default: the one in the file")] = "",
    device: Annotated[str, typer.Option(help="default: the one in the file")] = "",
    law: Annotated[list[str] | None, typer.Option(help="default: every law that speaks of the problem")] = None,
    trusted: Trusted = False,
    crash_after: CrashAfter = 30.0,
    json: Json = False,
) -> int:
    """Check problems again, under every law."""
    from properties.commands.replay import run_replay

    return run_replay(problem, backend, device, law or [], None if trusted else crash_after, json)


@app.command()
@exit_with_code
def show(problem: Annotated[str, typer.Argument(help="a file, or a problem as JSON")], json: Json = False) -> int:
    """Draw a problem: the keys that each query sees, their places in the cache, and the slots of new tokens."""
    from properties.commands.show import run_show

    return run_show(problem, json)


@app.command()
@exit_with_code
def script(
    problem: Annotated[str, typer.Argument(help="a file, or a problem as JSON")],
    backend: Annotated[str, typer.Option(help="default: the one in the file")] = "",
    device: Annotated[str, typer.Option(help="default: the one in the file")] = "",
    law: Annotated[str, typer.Option(help="default: the one in the file")] = "",
    output: Annotated[Path | None, typer.Option(help="default: standard output")] = None,
    crash_after: CrashAfter = 30.0,
    trusted: Trusted = False,
) -> int:
    """Write one Python file that shows the violation without us: for an upstream report. Imports the backend here."""
    from properties.commands.script import run_script

    return run_script(problem, backend, device, law, output, None if trusted else crash_after)


@app.command()
@exit_with_code
def ledger(
    folder: Annotated[Path | None, typer.Argument(help="entries, a file and a script each (default: ours)")] = None,
    crash_after: CrashAfter = 120.0,
    json: Json = False,
) -> int:
    """Try known findings in released software again: still there, or fixed. Exit code 3 if one cannot be judged."""
    from properties.commands.ledger import run_ledger

    return run_ledger(folder, crash_after, json)


@app.command()
@exit_with_code
def report(
    events: Annotated[list[Path], typer.Argument(help="run.jsonl of one run or of several")],
    output: Annotated[Path, typer.Option(help="the page")] = Path("reports/index.html"),
) -> int:
    """Write one HTML page of one run or of several, from any machines."""
    from properties.commands.report import run_report

    return run_report(events, output)


@app.command()
@exit_with_code
def probe(
    backend: Annotated[str, typer.Option(help="an implementation, or module:attribute")],
    device: Annotated[str, typer.Option(help="cpu, cuda")] = "cpu",
    examples: Annotated[int, typer.Option(min=1, help="problems a point")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="equal seeds try equal problems")] = 0,
    sharp: Annotated[bool, typer.Option("--sharp", help="measure under the documented precision too")] = False,
    trusted: Trusted = False,
    crash_after: CrashAfter = 30.0,
    json: Json = False,
) -> int:
    """Measure a contract: try each point, and propose the declaration."""
    from properties.commands.probe import run_probe

    return run_probe(backend, device, examples, seed, sharp, None if trusted else crash_after, json)


@app.command()
@exit_with_code
def hunt(
    backends: Annotated[list[str], typer.Argument(help="mutants of a kernel, each as module:attribute")],
    device: Annotated[str, typer.Option(help="cpu, cuda")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="equal seeds hunt equally")] = 0,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="time for each of them")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="processes (default: one a core)")] = None,
    trusted: Trusted = False,
    crash_after: CrashAfter = 30.0,
    json: Json = False,
) -> int:
    """Hunt each backend until a law breaks: killed or survived, and after how many problems. Exit code 0 for either."""
    from properties.commands.hunt import run_hunt

    return run_hunt(backends, device, seed, minutes, workers, None if trusted else crash_after, json)


@app.command()
@exit_with_code
def laws(json: Json = False) -> int:
    """List the laws, as mathematics."""
    from properties.commands.lists import list_laws

    return list_laws(json)


@app.command()
@exit_with_code
def backends(
    faults: Annotated[bool, typer.Option("--faults", help="the planted faults too")] = False, json: Json = False
) -> int:
    """List the implementations that can be asked here, with their promises."""
    from properties.commands.lists import list_backends

    return list_backends(faults, json)


if __name__ == "__main__":
    app(prog_name="attn-verify")
