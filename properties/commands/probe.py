"""``attn-verify probe``: a contract measured beside the declared one."""

from __future__ import annotations

import json as json_lib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from properties.commands.beside import describe_allowed, describe_documented, open_as_documented
from properties.commands.console import open_console
from properties.commands.errors import UsageError
from properties.commands.output import take_stdout
from properties.run.point import Point
from properties.run.probe import probe
from properties.run.proposal import holds_only_if, proposed, replay_of, unmeasured, weakened
from properties.run.session import NOT_VERIFIED, NOTHING, VIOLATION
from verification.backends.contract import Contract
from verification.backends.documented import find_lines
from verification.backends.flags import settle
from verification.catalogue import cannot_run
from verification.isolation.isolated import open_backend
from verification.reporting.tables import folding


def run_probe(
    backend: str, device: str, examples: int, seed: int, sharp: bool, crash_after: float | None, json: bool
) -> int:
    """Print the points of a contract that hold, and beside them what the documentation promises. Return 1 where a
    promise breaks, 3 where nothing holds, else 0.

    Raises UnknownBackend, UsageError and ClaimError.
    """
    settle()
    console = Console(file=take_stdout()) if json else open_console()
    found = open_backend(backend, device, crash_after)
    if reason := cannot_run(found.device):
        raise UsageError(f"device: {found.device!r} ({reason})")
    as_documented = open_as_documented(found, backend, crash_after) if sharp else None
    shown = open_console(stderr=True)
    points = list(show_progress(probe(found, seed, examples), shown))
    contract, weak, lines = proposed(found, points), weakened(points), find_lines(found)
    judged = list(show_progress(probe(as_documented, seed, examples), shown)) if as_documented else []
    allowed = describe_allowed(points, judged)
    if json:
        told = [{"said": holds_only_if(p), "replay": replay_of(p, backend, device), **p.to_dict()} for p in weak]
        data = {"points": [p.to_dict() for p in points], "proposed": _spell(contract), "weakened": told}
        console.out(json_lib.dumps(data | {"documented": [asdict(line) for line in lines], "allowed": allowed}))
    else:
        console.print(_make_table(found.name, points))
        console.print(f"proposed: {_spell(contract) or 'nothing, since no dtype holds'}", markup=False, highlight=False)
        _print_weakened(console, points, backend, device)
        for text in (*describe_documented(lines), *allowed):
            console.print(text, markup=False, highlight=False)
    if not any(point.holds for point in points):
        return NOT_VERIFIED
    return VIOLATION if any(point.declared and point.broken for point in points) else NOTHING


def show_progress(points: Iterable[Point], console: Console) -> Iterator[Point]:
    """Yield the points, and show on a terminal how many there are so far, and the last of them."""
    folding_text = TextColumn("{task.description}", table_column=Column(overflow="fold"))
    columns = (SpinnerColumn(), TimeElapsedColumn(), folding_text)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("the first point", total=None)
        for count, point in enumerate(points, start=1):
            bar.update(task, description=f"{count} points, the last: {escape(point.title)} {_word(point)}")
            yield point


def _word(point: Point) -> str:
    return "holds" if point.holds else "breaks" if point.broken else "nothing to say"


def _make_table(name: str, points: list[Point]) -> Table:
    """Return what was promised and what was measured, with the reason where a point breaks."""
    table = folding("point of the contract", "promised", "measured", title=name)
    for point in points:
        problems = "1 problem" if point.problems == 1 else f"{point.problems} problems"
        reason = f": {point.broken}" if point.broken else ""
        style = "red" if point.declared and point.broken else "yellow" if point.holds and not point.declared else ""
        said = Text(f"{_word(point)}, {problems}{reason}")
        table.add_row(Text(point.title), "yes" if point.declared else "no", said, style=style)
    return table


def _print_weakened(console: Console, points: list[Point], source: str, device: str) -> None:
    """Print what the proposal leaves out of the declared contract, and how to see it: commands are not broken up."""
    weak = weakened(points)
    for point in weak:
        console.print(f"\n{holds_only_if(point)}", style="bold red", markup=False, highlight=False)
        console.print(f"  {point.law}: {point.broken}", markup=False, highlight=False)
        command = f"  attn-verify replay {replay_of(point, source, device)}"
        console.print(command, markup=False, highlight=False, soft_wrap=True)
    if weak:
        console.print("\n`attn-verify script` in the place of `replay` writes a report for others.", markup=False)
    if left := unmeasured(points):
        names = ", ".join(point.title for point in left)
        console.print(f"not in the proposal, since no problem told anything: {names}", markup=False, highlight=False)


def _spell(contract: Contract | None) -> str | None:
    """Return a contract as source code, without the fields that have their default."""
    if contract is None:
        return None
    defaults = {field.name: field.default for field in fields(Contract)}
    given = {name: value for name, value in vars(contract).items() if value != defaults[name] and name != "by_phase"}
    differing = (f".differing({phase!r}, {_spell_arguments(dict(own))})" for phase, own in contract.by_phase)
    return f"Contract({_spell_arguments(given)}){''.join(differing)}"


def _spell_arguments(given: dict[str, Any]) -> str:
    """Return keyword arguments as source code; sets are sorted."""
    shown = {n: f"frozenset({sorted(v)!r})" if isinstance(v, frozenset) else repr(v) for n, v in given.items()}
    return ", ".join(f"{name}={text}" for name, text in shown.items())
