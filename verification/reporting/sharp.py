"""Cells that break under the precision that a library documents, and not under the one that its adapter declares."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from verification.records.results import State
from verification.reporting.events import CellEnded, Event, RunEnded

# Characters of a message in a line of the list.
_LONGEST = 100


class Sharp:
    """Prints at the end of a run what only the declared precision allows. ``ending`` is the end of the names of
    implementations that are judged as documented.
    """

    def __init__(self, console: Console, ending: str) -> None:
        self._console, self._ending = console, ending
        self._cells: list[CellEnded] = []

    def receive(self, event: Event) -> None:
        match event:
            case CellEnded():
                self._cells.append(event)
            case RunEnded():
                for line in describe(self._cells, self._ending):
                    self._console.print(line, highlight=False, markup=False)


def find_allowed(cells: Sequence[CellEnded], ending: str) -> list[CellEnded]:
    """Return the cells that broke as documented, where the declared precision broke nothing."""
    broken = {_identity(cell): cell for cell in cells if cell.state is State.BROKEN}
    return [
        cell
        for (*where, name), cell in broken.items()
        if name.endswith(ending) and (*where, name.removesuffix(ending)) not in broken
    ]


def describe(cells: Sequence[CellEnded], ending: str) -> list[str]:
    """Return the lines that say what only the declared precision allows, one for each cell."""
    allowed = find_allowed(cells, ending)
    if not allowed:
        return ["the declared precision allows nothing here that the documented one does not"]
    return [
        "only the declared precision allows, and not the documented one:",
        *(
            f"  {cell.law} {cell.dtype} {cell.device} {cell.implementation}: {_first_line(cell.why)}"
            for cell in allowed
        ),
    ]


def _identity(cell: CellEnded) -> tuple[str, str, str, str]:
    return cell.law, cell.dtype, cell.device, cell.implementation


def _first_line(text: str) -> str:
    """Return the first line of a message, shortened: that of the corpus has every file and law in it."""
    line = (text.splitlines() or [""])[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
