"""Results as tables: one by law and dtype, one by device, implementation and dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Column, Table
from rich.text import Text

from verification.records.results import CellResult, State
from verification.reporting.tally import counts

Key = Callable[[CellResult], str]
_STYLES = {State.HELD: "green", State.BROKEN: "bold red"}
_OTHERS = "yellow"


def law_table(results: Sequence[CellResult], title: str) -> Table:
    """Return law x dtype: problems tried, the largest err/bound where the law measures one, and time."""
    return _table(results, title, ("law", lambda result: result.law))


def matrix_table(results: Sequence[CellResult], title: str) -> Table:
    """Return device and implementation x dtype: the pre-merge table."""
    return _table(
        results, title, ("device / implementation", lambda result: f"{result.device} {result.implementation}")
    )


def _table(results: Sequence[CellResult], title: str, rows: tuple[str, Key]) -> Table:
    heading, row_of = rows
    dtypes = list(dict.fromkeys(result.dtype for result in results))
    table = Table(Column(heading, no_wrap=True), *dtypes, title=title)
    for row in dict.fromkeys(map(row_of, results)):
        cells = [[r for r in results if row_of(r) == row and r.dtype == dtype] for dtype in dtypes]
        table.add_row(row, *map(_place, cells))
    table.add_section()
    table.add_row("all", *(_place([r for r in results if r.dtype == dtype]) for dtype in dtypes))
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
