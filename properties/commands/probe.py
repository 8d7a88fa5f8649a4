"""``attn-verify probe``: a contract measured beside the declared one."""

from __future__ import annotations

import json as json_lib
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.table import Table

from properties.commands.beside import describe_allowed, describe_documented, open_as_documented
from properties.commands.errors import UsageError
from properties.run.probe import Point, probe
from properties.run.proposal import proposed
from properties.run.session import NOT_VERIFIED, NOTHING, VIOLATION
from verification.backends.contract import Contract
from verification.backends.documented import find_lines
from verification.backends.flags import settle
from verification.catalogue import cannot_run
from verification.isolation.isolated import open_backend


def run_probe(
    backend: str, device: str, examples: int, seed: int, sharp: bool, crash_after: float | None, json: bool
) -> int:
    """Print the points of a contract that hold, and beside them what the documentation promises. Return 1 where a
    promise breaks, 3 where nothing holds, else 0.

    Raises UnknownBackend, UsageError and ClaimError.
    """
    settle()
    found, console = open_backend(backend, device, crash_after), Console()
    if reason := cannot_run(found.device):
        raise UsageError(f"device: {found.device!r} ({reason})")
    as_documented = open_as_documented(found, backend, crash_after) if sharp else None
    points = list(probe(found, seed, examples))
    contract, lines = proposed(found, points), find_lines(found)
    allowed = describe_allowed(points, list(probe(as_documented, seed, examples))) if as_documented else []
    if json:
        told = {"points": [asdict(p) for p in points], "proposed": _spell(contract)}
        console.out(json_lib.dumps(told | {"documented": [asdict(line) for line in lines], "allowed": allowed}))
    else:
        console.print(_make_table(found.name, points))
        console.print(f"proposed: {_spell(contract) or 'nothing, since no dtype holds'}", markup=False, highlight=False)
        for text in (*describe_documented(lines), *allowed):
            console.print(text, markup=False, highlight=False)
    if not any(point.holds for point in points):
        return NOT_VERIFIED
    return VIOLATION if any(point.declared and point.broken for point in points) else NOTHING


def _make_table(name: str, points: list[Point]) -> Table:
    table = Table(title=name, title_justify="left")
    for heading in ("of the contract", "point", "promised", "measured", "problems"):
        table.add_column(heading, no_wrap=True)
    table.add_column("how it breaks")
    for point in points:
        measured = "holds" if point.holds else "breaks" if point.broken else "nothing to say"
        style = "red" if point.declared and point.broken else "yellow" if point.holds and not point.declared else ""
        promised, count = "yes" if point.declared else "no", str(point.problems)
        field = f"{point.field} in {point.phase}" if point.phase else point.field
        table.add_row(field, point.value, promised, measured, count, point.broken, style=style)
    return table


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
