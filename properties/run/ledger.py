"""Known findings in released software, tried again: by their scripts, and by the laws where they have a problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from packaging.version import InvalidVersion, Version

from properties.laws import LAWS
from properties.run.session import NOT_VERIFIED, NOTHING, cores
from properties.run.worker import replay
from verification.catalogue import UnknownBackend, cannot_run
from verification.isolation.isolated import open_backend
from verification.records.entries import Answer, Entry, run_script


class State(StrEnum):
    """State of a known finding on this machine."""

    STILL_THERE = "still there"
    FIXED = "fixed"
    NOT_INSTALLED = "not installed"
    NOT_RUN = "not run"
    UNJUDGED = "cannot be judged"


@dataclass(frozen=True)
class Row:
    """``here`` is the installed version, empty where there is none; ``why`` is what the script says, or why it was not
    asked; ``broken`` are the laws that break on the entry's problem, None where none was asked.
    """

    entry: Entry
    state: State
    here: str
    why: str
    broken: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        of_entry = {name: getattr(self.entry, name) for name in ("name", "page", "package", "seen", "kind")}
        return of_entry | {"here": self.here, "state": self.state, "why": self.why, "broken": self.broken}


def reviewed(entries: Sequence[Entry], seconds: float) -> Iterator[Row]:
    """In order. Most of a script's time is an import: they run side by side."""
    with ThreadPoolExecutor(cores()) as pool:
        answers = pool.map(partial(_answer, seconds=seconds), entries)
        for entry, answer in zip(entries, answers, strict=True):
            yield answer if isinstance(answer, Row) else _judged(entry, answer, seconds)


def exit_code(rows: Sequence[Row]) -> int:
    """Return the exit code. An entry that is not installed or needs another machine does not count, unless all are."""
    states = {row.state for row in rows}
    judged = states & {State.STILL_THERE, State.FIXED}
    return NOTHING if judged and State.UNJUDGED not in states else NOT_VERIFIED


def _answer(entry: Entry, seconds: float) -> Answer | Row:
    """Or a row already, where its packages are not here."""
    for package in (entry.package, *entry.needs):
        if not _installed(package):
            return Row(entry, State.NOT_INSTALLED, _installed(entry.package), f"{package} is not installed")
    return run_script(entry, seconds)


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _judged(entry: Entry, answer: Answer, seconds: float) -> Row:
    here = _installed(entry.package)
    if answer.code in (None, 2):
        return Row(entry, State.NOT_RUN if answer.code else State.UNJUDGED, here, answer.line)
    try:
        broken = _broken(entry, seconds)
    except UnknownBackend as error:
        return Row(entry, State.UNJUDGED, here, str(error))
    there = answer.code == 1
    if doubt := _doubt(entry, there, here, broken):
        return Row(entry, State.UNJUDGED, here, f"{answer.line}; {doubt}", broken)
    return Row(entry, State.STILL_THERE if there else State.FIXED, here, answer.line, broken)


def _broken(entry: Entry, seconds: float) -> tuple[str, ...] | None:
    finding = entry.finding
    if finding is None or cannot_run(finding.device):
        return None
    backend = open_backend(finding.backend, finding.device, seconds)
    _, failures = replay(finding.problem, backend, LAWS, finding.backend, finding.before)
    return tuple(failure.finding.law for failure in failures)


def _doubt(entry: Entry, there: bool, here: str, broken: tuple[str, ...] | None) -> str:
    """Return why the script's answer does not settle whether the finding is there; empty where it does."""
    if there:
        unseen = broken == () and entry.finding is not None and entry.finding.law
        return "but no law breaks on its problem" if unseen else ""
    if broken:
        return f"but on its problem breaks {', '.join(broken)}"
    try:
        newer = Version(Version(here).public) > Version(entry.seen)
    except InvalidVersion as error:
        return str(error)
    # An older release may lack what came later, an equal one on another machine may take another path.
    return "" if newer else f"but {here} is no newer than {entry.seen}, where it was seen"
