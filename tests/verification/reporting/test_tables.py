"""Tables say what ran, what broke and what did not run, and never confuse them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console
from rich.table import Table

from verification.records.results import CellResult
from verification.reporting.tables import law_table, matrix_table

RAN = CellResult("agrees", "float16", "cpu", "core/eager", problems=1500, outside=3, score=0.75, seconds=2.4)
BROKEN = replace(RAN, law="poison", failure="poison is broken by ...")
MISSING = replace(RAN, device="cuda", problems=0, score=0.0, skipped="no CUDA device")


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
    table = law_table([RAN, replace(RAN, law="cache", score=0.0)], "cpu")
    assert "1,500 0.750 2s" in row(table, "agrees")
    assert "1,500 2s" in row(table, "cache")
    assert "3,000 0.750 5s" in row(table, "all")


def test_a_broken_law_is_not_to_be_missed() -> None:
    """In its own row, and in the total."""
    table = law_table([RAN, BROKEN], "cpu")
    assert "BROKEN 1 of 1" in row(table, "poison")
    assert "BROKEN 1 of 2" in row(table, "all")
    assert "BROKEN" not in row(table, "agrees")


def test_what_did_not_run_did_not_pass() -> None:
    """A skipped cell shows why; a total says how many."""
    table = matrix_table([RAN, MISSING], "matrix")
    assert "not run: no CUDA device" in row(table, "cuda core/eager")
    assert "not run" not in row(table, "cpu core/eager")
    assert "1 not run" in row(table, "all")


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
