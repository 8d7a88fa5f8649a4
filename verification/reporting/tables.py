"""Results as tables: one by law and dtype, one by device, implementation and dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.table import Column, Table

from verification.records.results import CellResult

Key = Callable[[CellResult], str]


def law_table(results: Sequence[CellResult], title: str) -> Table:
    """Law x dtype: problems tried, largest err/bound where the law measures one, time."""
    return _table(results, title, ("law", lambda result: result.law))


def matrix_table(results: Sequence[CellResult], title: str) -> Table:
    """Device and implementation x dtype: the pre-merge table."""
    return _table(
        results, title, ("device / implementation", lambda result: f"{result.device} {result.implementation}")
    )


def _table(results: Sequence[CellResult], title: str, rows: tuple[str, Key]) -> Table:
    heading, row_of = rows
    dtypes = list(dict.fromkeys(result.dtype for result in results))
    table = Table(Column(heading, no_wrap=True), *dtypes, title=title)
    for row in dict.fromkeys(map(row_of, results)):
        cells = [[r for r in results if row_of(r) == row and r.dtype == dtype] for dtype in dtypes]
        table.add_row(row, *map(_cell, cells))
    table.add_section()
    table.add_row("all", *(_cell([r for r in results if r.dtype == dtype]) for dtype in dtypes))
    return table


def _cell(results: Iterable[CellResult]) -> str:
    """What could not run is never shown as passed."""
    results = list(results)
    broken = [result for result in results if result.failure]
    ran = [result for result in results if not result.skipped]
    problems, seconds = sum(r.problems for r in ran), sum(r.seconds for r in ran)
    score = max((r.score for r in ran), default=0.0)
    measured = f"{problems:,} [dim]{score:.3f}[/] {seconds:.0f}s" if score else f"{problems:,} {seconds:.0f}s"
    if broken:
        return f"[bold red]BROKEN {len(broken)} of {len(results)}[/] {measured}"
    if not ran:
        return f"[yellow]not run: {results[0].skipped}[/]" if results else ""
    skipped = len(results) - len(ran)
    return f"[green]{measured}[/]" + (f" [yellow]{skipped} not run[/]" if skipped else "")
