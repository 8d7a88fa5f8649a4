"""Standard output for what a command says, whatever a kernel prints in the same process."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def take_stdout() -> TextIO:
    """Return standard output, for the command alone: whatever else prints, C code too, prints to standard error.

    C code may keep what it prints in a buffer until the process ends, so file descriptor 1 stays standard error. What
    Python's ``sys.stdout`` was is put back by `properties.cli`, when the command ends.
    """
    ours, sys.stdout = sys.stdout, sys.stderr
    try:
        descriptor = ours.fileno()
    except (AttributeError, OSError):  # a stream of somebody's own, of which C code knows nothing
        return ours
    if descriptor != 1:
        return ours
    ours.flush()
    taken = os.fdopen(os.dup(1), "w", encoding=ours.encoding, errors=ours.errors)
    os.dup2(2, 1)
    return taken
