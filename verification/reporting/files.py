"""The reports of a run as files. One that cannot be written says so, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from verification.reporting.events import Event, RunEnded
from verification.reporting.json_lines import JsonLines
from verification.reporting.junit import junit
from verification.reporting.markdown import markdown
from verification.reporting.page import page
from verification.reporting.summary import Summary

Complain = Callable[[str], None]
EVENTS = "run.jsonl"
AT_THE_END: dict[str, Callable[[Summary], str]] = {"junit.xml": junit, "summary.md": markdown, "index.html": page}


class Files:
    """``run.jsonl`` as it goes on; the others when it ends. ``complain`` gets a line for each that is not written."""

    def __init__(self, folder: Path, complain: Complain, step_summary: Path | None = None) -> None:
        self._folder, self._complain, self._step_summary = folder, complain, step_summary
        self._summary = Summary()
        self._lines: JsonLines | None = None
        self._stream: TextIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._stream = (folder / EVENTS).open("w", encoding="utf-8")
            self._lines = JsonLines(self._stream)
        except OSError as error:
            self._not_written(folder / EVENTS, error)

    def receive(self, event: Event) -> None:
        self._summary.receive(event)
        if self._lines:
            try:
                self._lines.receive(event)
            except OSError as error:
                self._lines = None
                self._not_written(self._folder / EVENTS, error)
        if isinstance(event, RunEnded):
            self._ended()

    def _ended(self) -> None:
        if self._lines and self._stream:
            self._stream.close()
        for name, report in AT_THE_END.items():
            self._write(self._folder / name, report(self._summary))
        if self._step_summary:
            self._write(self._step_summary, markdown(self._summary), "a")

    def _write(self, path: Path, text: str, mode: str = "w") -> None:
        try:
            with path.open(mode, encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            self._not_written(path, error)

    def _not_written(self, path: Path, error: OSError) -> None:
        self._complain(f"NOT WRITTEN: {path} ({error.strerror or error})")
