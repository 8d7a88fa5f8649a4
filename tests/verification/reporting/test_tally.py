"""Cells are named in few words, and counted by state."""

from __future__ import annotations

from itertools import product

from verification.records.results import CellResult, State
from verification.reporting.tally import counts, names, silent, tally

HELD = CellResult("law", "float16", "cpu", "x", problems=3, outside=1)
SILENT = CellResult("law", "float16", "cpu", "x", problems=3, outside=3, reasons={"it is too short": 3})


def unreached(laws: str, dtypes: str, implementation: str = "x") -> list[CellResult]:
    return [CellResult(law, dtype, "cpu", implementation) for law, dtype in product(laws, dtypes.split())]


def test_all_five_are_counted() -> None:
    """Those that did not occur too."""
    skipped = [
        CellResult("law", "float16", "cuda", "x", skipped=why) for why in ("no CUDA device", "no CUDA device", "no y")
    ]
    results = [HELD, HELD, SILENT, *unreached("a", "float16"), *skipped]
    assert tally(results) == (
        "7 cells: 2 held, 0 broken, 1 says nothing, 1 not reached, 3 not run (no CUDA device; no y)"
    )
    assert tally([SILENT, SILENT]) == "2 cells: 0 held, 0 broken, 2 say nothing, 0 not reached, 0 not run"
    assert list(counts([])) == list(State)
    assert tally([HELD]).startswith("1 cell: 1 held")


def test_cells_of_equal_dtypes_are_one_text() -> None:
    """What braces stand for is exactly what there is."""
    assert names(unreached("a", "float16"), State.NOT_REACHED) == ["a-float16-cpu-x"]
    mixed = [*unreached("ab", "float16 float32"), *unreached("c", "float16"), *unreached("a", "float16", "y"), HELD]
    assert names(mixed, State.NOT_REACHED) == ["{a,b}-{float16,float32}-cpu-x", "c-float16-cpu-x", "a-float16-cpu-y"]
    assert names(mixed, State.HELD) == ["law-float16-cpu-x"]
    assert names(mixed, State.BROKEN) == []


def test_cells_that_say_nothing_are_listed_by_reason() -> None:
    """Each with its own."""
    other = CellResult("other", "float16", "cpu", "x", problems=1, outside=1, reasons={"it is too long": 1})
    same = CellResult("same", "float16", "cpu", "x", problems=9, outside=9, reasons={"it is too short": 9})
    assert silent([HELD, SILENT, other, same]) == {
        "it is too short": ["{law,same}-float16-cpu-x"],
        "it is too long": ["other-float16-cpu-x"],
    }
