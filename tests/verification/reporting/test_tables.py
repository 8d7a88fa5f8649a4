"""Tables say what ran, what broke and what did not run, and never confuse them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import pytest
from rich.console import Console
from rich.table import Table

from verification.records.results import CellResult
from verification.reporting.tables import law_table, matrix_table

RAN = CellResult("agrees", "float16", "cpu", "core/eager", problems=1500, outside=3, ratio=0.75, seconds=2.4)
BROKEN = replace(RAN, law="poison", failure="poison is broken by ...")
MISSING = replace(RAN, device="cuda", problems=0, outside=0, ratio=0.0, skipped="no CUDA device")


def text(table: Table) -> str:
    """As it is printed."""
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def row(table: Table, heading: str) -> str:
    """The line that starts so."""
    [line] = [line for line in text(table).splitlines() if line.strip("│ ").startswith(heading)]
    return line


def test_a_law_that_held() -> None:
    """Problems, the largest err/bound, seconds."""
    table = law_table([RAN, replace(RAN, law="cache", ratio=0.0)], "cpu")
    assert "1,500 0.750 2s" in row(table, "agrees")
    assert "1,500 2s" in row(table, "cache")
    assert "3,000 0.750 5s" in row(table, "all")


def test_a_broken_law_is_not_to_be_missed() -> None:
    """In its own row, and in the total."""
    table = law_table([RAN, BROKEN], "cpu")
    assert "broken 1,500" in row(table, "poison")
    assert "broken 1 of 2 3,000" in row(table, "all")
    assert "broken" not in row(table, "agrees")


def test_what_did_not_run_did_not_pass() -> None:
    """A skipped cell shows why; a total says how many."""
    table = matrix_table([RAN, MISSING], "matrix")
    assert "not run: no CUDA device" in row(table, "cuda core/eager")
    assert "not run" not in row(table, "cpu core/eager")
    assert "1 not run" in row(table, "all")


def test_what_verified_nothing_did_not_pass() -> None:
    """A cell shows its word; a total counts each word."""
    silent = replace(RAN, law="silent", outside=1500, ratio=0.0)
    unreached = CellResult("unreached", "float16", "cpu", "core/eager")
    table = law_table([RAN, silent, unreached, BROKEN], "cpu")
    assert "says nothing 1,500 2s" in row(table, "silent")
    assert row(table, "unreached").strip("│ ").split("│")[1].strip() == "not reached"
    assert "broken 1 of 4 1 says nothing 1 not reached 4,500 0.750" in row(table, "all")


@pytest.mark.parametrize(
    ("results", "green"),
    [
        ([RAN], True),
        ([RAN, RAN], True),
        ([RAN, replace(RAN, outside=1500)], False),
        ([RAN, replace(RAN, problems=0, outside=0)], False),
        ([RAN, replace(MISSING, device="cpu")], False),
        ([RAN, BROKEN], False),
        ([replace(RAN, outside=1500)], False),
    ],
)
def test_only_held_is_green(results: list[CellResult], green: bool) -> None:
    """A place is green where each of its cells held."""
    console = Console(width=200, force_terminal=True, color_system="standard")
    with console.capture() as capture:
        console.print(matrix_table(results, "matrix"))
    assert ("\x1b[32m" in capture.get()) == green


def test_a_column_a_dtype_in_order_of_appearance() -> None:
    """And empty cells where there is no such cell."""
    results: Sequence[CellResult] = [RAN, replace(RAN, dtype="bfloat16"), replace(RAN, law="only16", problems=7)]
    table = law_table(results, "cpu")
    assert [column.header for column in table.columns] == ["law", "float16", "bfloat16"]
    assert row(table, "only16").count("7 0.750") == 1


def test_results_are_plain_data() -> None:
    """They travel between processes as a dict; what is outside a law was not verified."""
    assert CellResult(**RAN.to_dict()) == RAN
    assert RAN.to_dict() == asdict(RAN)
    assert RAN.verified == 1497


def test_no_results_no_rows() -> None:
    """But a table."""
    assert "all" in text(law_table([], "nothing"))
