"""Who runs: for tests that nothing is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to look into")


def in_session(session: int) -> list[int]:
    """Its processes."""
    return _with_field(3, session)


def in_group(group: int) -> list[int]:
    """Its processes."""
    return _with_field(2, group)


def _with_field(field: int, value: int) -> list[int]:
    """Those that have this value there in their `stat`, behind the name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        if int(fields[field]) == value and fields[0] != "Z":
            found.append(int(folder.name))
    return found


def until(true: Callable[[], bool]) -> None:
    """For a minute at most."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
