"""Reports as files. A run that cannot write them does not begin; one that cannot write one of them later goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from errno import EWOULDBLOCK
from pathlib import Path

from filelock import FileLock, Timeout

from verification.reporting import figures
from verification.reporting.events import Event, RunEnded, RunReady, RunStarted
from verification.reporting.json_lines import JsonLines
from verification.reporting.junit import junit
from verification.reporting.markdown import markdown
from verification.reporting.page import page
from verification.reporting.summary import Summary

Complain = Callable[[str], None]
EVENTS, LOCK, EARLIER = "run.jsonl", ".lock", ".earlier"
AT_THE_END: dict[str, Callable[[Summary], str]] = {"junit.xml": junit, "summary.md": markdown, "index.html": page}


class Files:
    """Writes ``run.jsonl`` as the run goes on, and the other reports when it starts and when it ends: what a killed run
    leaves says that it did not end. Reports of the run before are moved into the hidden folder ``.earlier``.
    ``complain`` gets a line for each file that cannot be written.
    """

    def __init__(self, folder: Path, complain: Complain, step_summary: Path | None = None) -> None:
        """Move all files of an earlier run away, and make new ones. Raises OSError where one cannot be written, and
        where another run is writing into the same folder.
        """
        self._folder, self._complain, self._step_summary = folder, complain, step_summary
        self._summary = Summary()
        self.not_written: set[Path] = set()
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise BlockingIOError(EWOULDBLOCK, "another run is writing there; name another folder") from None
        try:
            self._move_away()
            for name in AT_THE_END:
                (folder / name).open("w").close()
            self._stream = (folder / EVENTS).open("w", encoding="utf-8")
        except OSError:
            self._lock.release()
            raise
        self._lines: JsonLines | None = JsonLines(self._stream)

    def receive(self, event: Event) -> None:
        """Write what there is to write of it."""
        self._summary.receive(event)
        if self._lines:
            try:
                self._lines.receive(event)
            except OSError as error:
                self._lines = None
                self._say_not_written(self._folder / EVENTS, error)
        if isinstance(event, RunReady):
            figures.load()  # while the workers are busy: a person's Ctrl-C waits for the reports
        if isinstance(event, RunStarted | RunEnded):
            for name, report in AT_THE_END.items():
                self._write(self._folder / name, report(self._summary))
        if isinstance(event, RunEnded):
            self._end()

    def _move_away(self) -> None:
        names, earlier = (EVENTS, *AT_THE_END), self._folder / EARLIER
        present = [name for name in names if (self._folder / name).is_file()]
        if not present:
            return
        earlier.mkdir(exist_ok=True)
        for name in names:
            (earlier / name).unlink(missing_ok=True)
        for name in present:
            (self._folder / name).replace(earlier / name)

    def close(self) -> None:
        """Let another run have the folder where this one never begins: no report is left that looks like one of it."""
        with suppress(OSError):
            self._stream.close()
            for name in (EVENTS, *AT_THE_END):
                (self._folder / name).unlink()
        self._lock.release()

    def _end(self) -> None:
        with suppress(OSError):  # said already
            self._stream.close()
        if self._step_summary:
            self._write(self._step_summary, markdown(self._summary), "a")
        self._lock.release()

    def _write(self, path: Path, text: str, mode: str = "w") -> None:
        try:
            with path.open(mode, encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            self._say_not_written(path, error)

    def _say_not_written(self, path: Path, error: OSError) -> None:
        if path not in self.not_written:
            self._complain(f"NOT WRITTEN: {path} ({error.strerror or error})")
        self.not_written.add(path)
