"""Results as tables: one by law and dtype, one by device, implementation and dtype. Nothing in a table is ever cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from verification.records.results import CellResult, State
from verification.reporting.tally import counts

Key = Callable[[CellResult], str]
_STYLES = {State.HELD: "green", State.BROKEN: "bold red"}
_OTHERS = "yellow"
# Columns that a line between two cells takes, with the space beside it.
_LINE = 3


def folding(*headings: str, title: str | None = None, show_lines: bool = False) -> Table:
    """Return an empty table whose texts go on in the next line where a column is too narrow: rich would cut them."""
    columns = (Column(heading, overflow="fold") for heading in headings)
    return Table(*columns, title=title, title_justify="left", show_lines=show_lines)


def law_table(results: Sequence[CellResult], title: str, width: int = 0) -> Table:
    """Return law x dtype: problems tried, the largest err/bound where the law measures one, and time. On a screen of
    ``width`` columns that are too few the law keeps its line, and the numbers get several.
    """
    return _table(results, title, ("law", lambda result: result.law), width)


def matrix_table(results: Sequence[CellResult], title: str, width: int = 0) -> Table:
    """Return device and implementation x dtype: the pre-merge table."""
    return _table(
        results, title, ("device / implementation", lambda result: f"{result.device} {result.implementation}"), width
    )


def _table(results: Sequence[CellResult], title: str, rows: tuple[str, Key], width: int) -> Table:
    heading, row_of = rows
    dtypes = list(dict.fromkeys(result.dtype for result in results))
    found = {
        row: [_place([r for r in results if row_of(r) == row and r.dtype == dtype]) for dtype in dtypes]
        for row in dict.fromkeys(map(row_of, results))
    }
    totals = [_place([r for r in results if r.dtype == dtype]) for dtype in dtypes]
    table = folding(heading, *dtypes, title=title)
    table.title_justify = "center"
    columns = list(zip(dtypes, *([cell.plain for cell in cells] for cells in (*found.values(), totals)), strict=True))
    wide = sum(max(map(len, column)) + _LINE for column in ((heading, *found), *columns)) + 1
    if 0 < width < wide:
        table.box, table.show_edge = SIMPLE_HEAD, False
        for column, texts in zip(table.columns[1:], columns, strict=True):
            column.width = max(len(word) for text in texts for word in text.split())
    for row, places in found.items():
        table.add_row(row, *places)
    table.add_section()
    table.add_row("all", *totals)
    return table


def _place(results: Sequence[CellResult]) -> Text:
    """Return what is shown of the cells in one place: a word for each that did not hold, and what was measured. Only a
    place whose cells all held is green.
    """
    found = {state: count for state, count in counts(results).items() if count}
    parts = [
        Text(_word(state, count, results), style=_STYLES.get(state, _OTHERS))
        for state, count in found.items()
        if state is not State.HELD
    ]
    if any(result.problems for result in results):
        parts.append(_measured(results, "green" if set(found) == {State.HELD} else ""))
    return Text(" ").join(parts)


def _word(state: State, count: int, results: Sequence[CellResult]) -> str:
    if state is State.BROKEN and len(results) > 1:
        return f"{state} {count} of {len(results)}"
    if count < len(results):
        return f"{count} {state}"
    return f"{state}: {results[0].skipped}" if state is State.NOT_RUN else state


def _measured(results: Sequence[CellResult], style: str) -> Text:
    """Return problems, the largest ratio, and seconds."""
    text = Text(f"{sum(result.problems for result in results):,} ", style=style)
    if ratio := max(result.ratio for result in results):
        text.append(f"{ratio:.3f} ", style="dim")
    return text.append(f"{sum(result.seconds for result in results):.0f}s")
