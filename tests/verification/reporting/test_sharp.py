"""The list of what only the declared precision allows."""

from __future__ import annotations

import io

from rich.console import Console

from verification.records.results import State
from verification.reporting.events import CellEnded, RunEnded
from verification.reporting.sharp import Sharp, find_allowed

BROKEN_IN_BOTH = [CellEnded("hull", "float16", "cpu", name, State.BROKEN, "x") for name in ("k", "k@documented")]
LOOSE = CellEnded("agrees", "float16", "cpu", "k@documented", State.BROKEN, "2 of 4 elements\nthe first is")
HELD = CellEnded("agrees", "float16", "cpu", "k", State.HELD)


def said(*cells: CellEnded) -> str:
    out = io.StringIO()
    reporter = Sharp(Console(file=out, width=120), "@documented")
    for event in (*cells, RunEnded(1.0, 1)):
        reporter.receive(event)
    return out.getvalue()


def test_cells_that_break_as_documented_alone() -> None:
    """Not those that break in any case."""
    assert find_allowed([*BROKEN_IN_BOTH, LOOSE, HELD], "@documented") == [LOOSE]


def test_they_are_listed() -> None:
    assert said(*BROKEN_IN_BOTH, LOOSE, HELD) == (
        "only the declared precision allows, and not the documented one:\n"
        "  agrees float16 cpu k@documented: 2 of 4 elements\n"
    )


def test_that_there_are_none_is_said() -> None:
    assert (
        said(*BROKEN_IN_BOTH, HELD) == "the declared precision allows nothing here that the documented one does not\n"
    )
