"""Consoles of the commands: as wide as the terminal or as ``COLUMNS`` says, and wide enough for tables in a log."""

from __future__ import annotations

import os
import sys

from rich.console import Console

# Columns of a log, which nobody's terminal limits.
_OF_A_LOG = 120


def open_console(stderr: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() or os.environ.get("COLUMNS") else _OF_A_LOG)
