"""Texts of foreign code on their way through all reporters: nothing of them controls a terminal or breaks a file."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from tests.verification.problem.test_printable import FOREIGN
from tests.verification.reporting.samples import ENDED, STARTED, cell, failures
from verification.problem.printable import printable
from verification.records.results import CellResult
from verification.reporting.events import Event, LawBroken, RoundEnded, RunReady, tell
from verification.reporting.files import Files
from verification.reporting.json_lines import JsonLines
from verification.reporting.terminal import Terminal


def foreign_events() -> list[Event]:
    """A run whose every text is `FOREIGN`."""
    found = failures()[0]
    finding = replace(found.finding, backend=FOREIGN, message=f"raised RuntimeError: {FOREIGN}\n{FOREIGN}")
    broken = replace(found, finding=finding, statement=FOREIGN, as_if=(FOREIGN,), lines=(FOREIGN,), kept=FOREIGN)
    lost = replace(broken, finding=replace(finding, law="other"), kept="", not_kept=FOREIGN)
    started = replace(STARTED, command=FOREIGN, machine={FOREIGN: FOREIGN}, cells=(("a", "float16", "cpu", FOREIGN),))
    silent = CellResult("silent", "float16", "cpu", FOREIGN, problems=1, outside=1, reasons={FOREIGN: 1})
    missing = CellResult("missing", "float16", "cuda", FOREIGN, skipped=FOREIGN)
    results = [replace(cell("a", "float16", failure=FOREIGN), implementation=FOREIGN), silent, missing]
    return [
        started,
        RunReady(1.0),
        *map(RoundEnded, results),
        LawBroken(broken),
        LawBroken(lost),
        replace(ENDED, error=FOREIGN),
    ]


def test_no_reporter_gets_them_raw(tmp_path: Path) -> None:
    """They are told all the same, and a lone surrogate ends no run."""
    screen, lines = io.StringIO(), io.StringIO()
    files = Files(tmp_path, [].append)
    reporters = [Terminal(Console(file=screen, width=80, color_system=None), time.monotonic()), files, JsonLines(lines)]
    for event in foreign_events():
        tell(event, reporters)
    assert not files.not_written
    written = [path.read_bytes().decode() for path in tmp_path.glob("[!.]*")]
    assert len(written) == 4
    for text in (screen.getvalue(), lines.getvalue(), *written):
        assert all(c.isprintable() or c in "\n\t" for c in text)
    assert "".join(printable(FOREIGN).split()) in "".join(screen.getvalue().split())
    assert printable(FOREIGN) in (tmp_path / "index.html").read_text()
