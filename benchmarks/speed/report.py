"""The reports: tables on the terminal and in Markdown, and all numbers as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from benchmarks.speed.results import PLAIN, Outcome, Row, count_rows

HEADING = ("contender", "ms", "x eager", f"x {PLAIN}", "x best other", "of the limit", "peak MiB", "error", "note")
# A row is uneven if its median is more than so many times its fastest round.
UNEVEN = 1.25
LEGEND = (
    f"x: how many times as fast as that row; best other: the quickest that is right and not ours; {PLAIN}: a call of "
    "SDPA for each sequence. Of the limit: bytes of K and V that are seen, against a large copy (decode); products of "
    "the causal half, against a large matmul (prefill). A decode stores its new tokens first, whoever does it. Error: "
    "the largest, against float64."
)


def format_cells(outcome: Outcome, row: Row) -> tuple[str, ...]:
    """Return a line of the table as text."""
    if row.skipped or row.failed:
        reason = f"skipped: {row.skipped}" if row.skipped else f"FAILED: {row.failed}"
        return (row.contender, *["-"] * 7, "; ".join(filter(None, (reason, row.note))))
    factors = (_format_factor(outcome.times_faster(row, than)) for than in ("eager", PLAIN, outcome.best_other))
    share, peak = outcome.share(row), "-" if row.peak is None else f"{row.peak / 2**20:,.1f}"
    seconds = "-" if row.seconds is None else _format_ms(row.seconds)
    percent = "-" if share is None else f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
    note = "; ".join(filter(None, (row.note, _note_unevenness(row))))
    return (row.contender, seconds, *factors, percent, peak, _format_error(row), note)


def format_heading(outcome: Outcome) -> str:
    """Return the size of a case, and what the machine could do at best."""
    copy, matmul = outcome.limits.copy / 1e9, outcome.limits.matmul / 1e12
    size = outcome.size
    limit = f"copy {copy:,.0f} GB/s" if size.phase == "decode" else f"matmul {matmul:,.2f} TFLOP/s"
    text = f"{size}; limit {_format_ms(outcome.least_seconds)} ms ({limit})"
    best = f"best other: {outcome.best_other}" if outcome.best_other else ""
    return "; ".join(filter(None, (text, best, outcome.note)))


def make_table(outcome: Outcome) -> Table:
    """Return the table of one case."""
    shown = Table(title=format_heading(outcome), title_justify="left")
    for i, name in enumerate(HEADING):
        shown.add_column(name, justify="left" if i in (0, len(HEADING) - 1) else "right")
    for row in outcome.rows:
        style = "red" if row.failed or row.wrong else "yellow" if row.skipped else "bold" if row.ours else ""
        shown.add_row(*(Text(cell) for cell in format_cells(outcome, row)), style=style)
    return shown


def make_markdown(outcomes: Sequence[Outcome], flags: dict[str, str]) -> str:
    """Return the page of all cases."""
    lines = ["## Attention: milliseconds a call", "", _format_flags(flags), "", LEGEND, "", describe_total(outcomes)]
    for outcome in outcomes:
        lines += ["", f"### {format_heading(outcome)}", "", _format_line(HEADING)]
        lines.append("| --- |" + " ---: |" * (len(HEADING) - 2) + " --- |")
        for row in outcome.rows:
            name, *rest = format_cells(outcome, row)
            lines.append(_format_line((f"**{name}**" if row.ours else name, *rest)))
    return "\n".join(lines) + "\n"


def make_json(outcomes: Sequence[Outcome], flags: dict[str, str]) -> dict[str, Any]:
    """Return all numbers as plain data."""
    return {"flags": flags, "tally": count_rows(outcomes), "cases": [outcome.to_dict() for outcome in outcomes]}


def describe_total(outcomes: Sequence[Outcome]) -> str:
    """Return the counts of all rows: none is left out in silence."""
    counts = count_rows(outcomes)
    return f"{len(outcomes)} cases; rows: " + ", ".join(f"{count} {name}" for name, count in counts.items())


def _format_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _format_flags(flags: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in flags.items())


def _format_ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.4g}" if seconds < 1 else f"{1e3 * seconds:,.0f}"


def _format_factor(factor: float | None) -> str:
    return (
        "-"
        if factor is None
        else f"{factor:.2g}"
        if factor < 0.1
        else f"{factor:.2f}"
        if factor < 10
        else f"{factor:,.0f}"
    )


def _note_unevenness(row: Row) -> str:
    """Return a note if something else took the machine's time."""
    if row.seconds and row.fastest and row.seconds > UNEVEN * row.fastest:
        return f"uneven: {_format_ms(row.fastest)} ms in the fastest round"
    return ""


def _format_error(row: Row) -> str:
    if row.error is None:
        return "-"
    if row.error != row.error:
        return "NaN"
    return f"WRONG {row.error:.1e}" if row.wrong else f"{row.error:.1e}"
