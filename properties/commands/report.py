"""``attn-verify report``: the page of one run or of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from properties.commands.errors import UsageError
from verification.reporting.lines import read_events
from verification.reporting.page import page
from verification.reporting.summary import Summary


def run_report(paths: Sequence[Path], output: Path) -> int:
    """Write one page of all the runs' events, and return 0.

    Raises ProblemError, which names file, line and field, and UsageError where the page cannot be written.
    """
    summary = Summary(event for path in paths for event in read_events(path))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page(summary), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output: {output} ({error.strerror or error})") from None
    Console().print(f"{output}: {summary.totals()}", markup=False, highlight=False)
    return 0
