"""What is printed of cells."""

from __future__ import annotations

import numpy as np

from benchmarks.power.measure import Sample
from benchmarks.power.results import Cell, make_size_table, say_total, summarise


def test_the_total_is_one_line() -> None:
    """Of all cells that ran, with the reason of those that did not."""
    cells = [
        summarise(("one", "cpu", "float16"), [Sample(np.array([0.1, 0.9, 2.0]))]),
        summarise(("one", "cpu", "float32"), [Sample(np.full(1500, 0.5))]),
        Cell("two", "cuda", "float16", skipped="no CUDA device"),
    ]
    assert say_total(cells[:2]) == "1 false alarms in 1,503 problems (implementations: 1, cells: 2)"
    assert say_total(cells) == f"{say_total(cells[:2])}; cells not run: 1 (no CUDA device)"


def test_sizes_have_a_line_each() -> None:
    """Of all cells together; a profile that no problem had has none."""
    cells = [
        summarise(("one", "cpu", "float16"), [Sample(np.array([0.1, 0.3, 2.0]), sizes=("tiny", "tiny", "kernel"))]),
        summarise(("one", "cpu", "float32"), [Sample(np.array([0.5]), sizes=("tiny",))]),
    ]
    columns = [list(column.cells) for column in make_size_table(cells, "").columns]
    assert columns[:4] == [["tiny", "kernel"], ["3", "1"], ["0", "1"], ["0.500", "2.000"]]
    assert columns[4] == ["0.350", "2.000"]
