"""``attn-verify ledger``: known findings in released software are tried again."""

from __future__ import annotations

import json as json_lib
from pathlib import Path

from rich.table import Table
from rich.text import Text

from properties.commands.console import open_console
from properties.run.ledger import Row, State, exit_code, reviewed
from verification.backends.flags import settle
from verification.records.entries import entries
from verification.records.findings import LEDGER
from verification.reporting.tables import folding

_STYLES = {State.FIXED: "bold green", State.UNJUDGED: "bold red", State.NOT_INSTALLED: "dim", State.NOT_RUN: "dim"}


def run_ledger(folder: Path | None, crash_after: float, json: bool) -> int:
    """Print the state of each entry. Return 3 where one cannot be judged, or none could be asked; else 0.

    Raises ProblemError.
    """
    settle()
    rows = list(reviewed(entries(folder or LEDGER), crash_after))
    console = open_console()
    if json:
        console.out(json_lib.dumps([row.to_dict() for row in rows], indent=1), highlight=False)
    else:
        console.print(_make_table(rows))
        counts = [f"{sum(row.state is state for row in rows)} {state}" for state in State]
        console.print("; ".join(counts), markup=False, highlight=False)
    return exit_code(rows)


def _make_table(rows: list[Row]) -> Table:
    table = folding("entry", "package", "seen in", "here", "state", "what was said")
    for row in rows:
        entry, said = row.entry, row.why
        if row.broken is not None:
            said += f"; {len(row.broken)} laws broken" if row.broken else "; no law broken"
        # The name without the package, which has a column of its own.
        name = entry.name.replace(f"-{entry.package}", "", 1)
        state = f"FIXED in {row.here}" if row.state is State.FIXED else str(row.state)
        cells = [Text(cell) for cell in (name, entry.package, entry.seen, row.here or "-", state, said)]
        table.add_row(*cells, style=_STYLES.get(row.state))
    return table
