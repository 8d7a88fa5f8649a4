"""Events of a run, and their JSON: one object a line, described in docs/events.md."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from verification.problem.labels import FULL_NAMES
from verification.problem.printable import printable_in
from verification.problem.reading import (
    INT64,
    ProblemError,
    Reader,
    finite,
    flag,
    integer,
    jsonable,
    mapping_of,
    one_of,
    optional,
    parsed,
    record,
    text,
    tuple_of,
)
from verification.records.coverage import Coverage
from verification.records.failure import READERS as FAILURE_READERS
from verification.records.failure import Failure
from verification.records.results import CellResult, Identity, State

VERSION = 3


@dataclass(frozen=True)
class RunStarted:
    """Told when a run begins. What it never reaches is known by the cells that it names here."""

    started: str
    """When, in ISO 8601 and UTC."""
    seed: int
    """The number that repeats the run."""
    command: str = ""
    """The command line."""
    minutes: float | None = None
    """The budget, where it is a time."""
    examples: int | None = None
    """The budget, where it is a number of problems a cell."""
    workers: int = 1
    """How many processes try problems."""
    cells: tuple[Identity, ...] = ()
    """The cells that can run here, in order; empty where they are not known, as in files of version 1."""
    machine: dict[str, str] = field(default_factory=dict)
    """What it runs on: versions, devices, switches, and what lies outside a contract."""
    left_out: tuple[tuple[str, ...], ...] = ()
    """For each kind of call that is asked, a phase of a backend, the labels that no problem of it can have, since its
    contract or the choice of cells leaves them out; empty where that is not known."""
    version: int = VERSION
    """Version of these events."""


@dataclass(frozen=True)
class RunReady:
    """Told once a backend can be asked its first problem, which is when a budget of minutes begins."""

    seconds: float
    """Wall time of the start: the process, its workers, torch and the backend were loaded in it."""


@dataclass(frozen=True)
class RoundEnded:
    """Told when a round of a cell ends. A cell that cannot run has one such event, with its reason."""

    result: CellResult


@dataclass(frozen=True)
class LawBroken:
    """Told when a law broke, and the problem is as small as it gets."""

    failure: Failure


@dataclass(frozen=True)
class CauseSpread:
    """Told when more cells turn out to break by the cause of a failure that was told before."""

    finding: str
    """The name of that failure's finding, `Finding.file_name`."""
    cells: tuple[tuple[str, str], ...]
    """Law and dtype of each of those cells."""


@dataclass(frozen=True)
class FaultHunted:
    """Told of a planted fault that was hunted with the ordinary laws."""

    id: str
    """Name of the fault."""
    sentence: str
    """What is wrong."""
    citation: str = ""
    """The public thread that the fault comes from."""
    law: str = ""
    """The law that killed it; empty for a survivor."""
    dtype: str = ""
    """Format in which it was killed."""
    problems: int = 0
    """How many problems were tried until then."""
    seconds: float = 0.0
    """How long that took."""
    tokens: int = 0
    """Tokens of the smallest problem."""
    words: str = ""
    """The smallest problem, in words."""


@dataclass(frozen=True)
class WorkerLost:
    """Told when a process of the run died before its round ended. The round is tried again, in another process."""

    law: str
    """Name of the law that it tried."""
    dtype: str
    """Format of q, k and v."""
    device: str
    """Where it ran."""
    implementation: str
    """Name of the backend."""
    process: int
    """Number of the process."""
    how: str
    """How it died, as "died of SIGKILL"."""

    def __str__(self) -> str:
        cell = "-".join((self.law, self.dtype, self.device, self.implementation))
        return f"worker {self.process} {self.how}: its round of {cell} is tried again"


@dataclass(frozen=True)
class CellEnded:
    """Told of every cell when the run ends: what it came to over all its rounds, so that whoever reads the lines need
    not add them up.
    """

    law: str
    """Name of the law."""
    dtype: str
    """Format of q, k and v."""
    device: str
    """Where it ran."""
    implementation: str
    """Name of the backend."""
    state: State
    """What became of it, in a word."""
    why: str = ""
    """What goes with the word: how the law broke, why it says nothing, why the cell cannot run."""


@dataclass(frozen=True)
class RunEnded:
    """Told when a run ends, by its budget, by a person or by an error."""

    seconds: float
    """Wall time, the start of the process included."""
    exit_code: int
    """The exit code of the command."""
    interrupted: bool = False
    """A person ended it."""
    coverage: Coverage | None = None
    """How often pairs of features were tried together."""
    error: str = ""
    """What ended the run, where neither its budget nor a person did."""
    states: dict[str, int] = field(default_factory=dict)
    """How many cells came to each `State`."""
    at_first: bool = False
    """It ended at its first finding, as was asked, with cells that had no turn."""


Event = RunStarted | RunReady | RoundEnded | LawBroken | CauseSpread | FaultHunted | WorkerLost | CellEnded | RunEnded


class Reporter(Protocol):
    """Hears of a run by its events. It knows nothing of laws or backends."""

    def receive(self, event: Event) -> None: ...


def tell(event: Event, reporters: Iterable[Reporter]) -> None:
    """Let every reporter hear of an event. Its texts may come from foreign code, so they are made printable here: no
    reporter need do that.
    """
    event = printable_in(event)
    for reporter in reporters:
        reporter.receive(event)


def to_line(event: Event) -> str:
    """Return one line of JSON."""
    match event:
        case RoundEnded(result):
            data = {name: value for name, value in result.to_dict().items() if value not in (0, "", (), {})}
        case LawBroken(failure):
            data = failure.to_dict()
        case RunEnded():
            data = {item.name: getattr(event, item.name) for item in fields(event)}
            data["coverage"] = event.coverage.to_dict() if event.coverage else None
        case _:
            data = asdict(event)
    return json.dumps({"event": _NAMES[type(event)], **jsonable(data)})


def from_line(line: str, version: int = VERSION) -> Event:
    """Return what `to_line` wrote, in this release or in one of that version. Raises ProblemError, one line that names
    the field.
    """
    data = parsed(line, "event")
    kind = data.pop("event", None) if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _READ:
        raise ProblemError(f"event: must be an object whose event is one of {', '.join(_READ)}")
    event: Event = _READ[kind]("", _from_version_1(kind, data) if version == 1 else data)
    return event


def read_events(path: Path) -> list[Event]:
    """Return all events of a file. Raises ProblemError, which names file, line and field."""
    events: list[Event] = []
    try:
        with path.open(encoding="utf-8") as lines:
            version = VERSION
            for i, line in enumerate(lines, start=1):
                try:
                    version = _version_of(line) if i == 1 else version
                    events.append(from_line(line, version))
                except ProblemError as error:
                    raise ProblemError(f"line {i}: {error}") from None
        if not events or not isinstance(events[0], RunStarted):
            raise ProblemError(f"line 1: must be run_started, version 1 to {VERSION}")
    except (OSError, UnicodeDecodeError, ProblemError) as error:
        raise ProblemError(f"{path}: {str(error).splitlines()[0]}") from None
    return events


def _version_of(line: str) -> int:
    """Return the version that the first line of a file names. Raises ProblemError for one that nobody knows."""
    data = parsed(line, "event")
    if not isinstance(data, dict) or data.get("event") != "run_started":
        return VERSION  # the line is refused for what it is
    version: int = integer(1, VERSION)("version", data.get("version"))
    return version


def _from_version_1(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return ``data`` of version 1 as of now: a ratio was called a score, and cells were counted, not named."""
    if kind == "run_started":
        return {name: value for name, value in data.items() if name != "cells"} | {"version": VERSION}
    if kind == "round_ended" and "score" in data:
        return {("ratio" if name == "score" else name): value for name, value in data.items()}
    return data


_COUNT = integer(0, INT64 - 1)
_IDENTITY = ("law", "dtype", "device", "implementation")
_RESULT: dict[str, Reader] = {
    **dict.fromkeys((*_IDENTITY, "failure", "skipped", "ended"), text),
    **dict.fromkeys(("problems", "outside"), _COUNT),
    **dict.fromkeys(("ratio", "seconds", "found_after"), finite),
    "digest": integer(0, 2**64 - 1),
    "histogram": tuple_of(_COUNT),
    "reasons": mapping_of(_COUNT),
}
_SPREAD: dict[str, Reader] = {"finding": text, "cells": tuple_of(tuple_of(text, 2))}
_STARTED: dict[str, Reader] = {
    **dict.fromkeys(("started", "command"), text),
    **dict.fromkeys(("seed", "workers", "version"), _COUNT),
    "cells": tuple_of(tuple_of(text, len(_IDENTITY))),
    "minutes": optional(finite),
    "examples": optional(_COUNT),
    "machine": mapping_of(text),
    "left_out": tuple_of(tuple_of(one_of(FULL_NAMES))),
}
_READY: dict[str, Reader] = {"seconds": finite}
_HUNTED: dict[str, Reader] = {
    **dict.fromkeys(("id", "sentence", "citation", "law", "dtype", "words"), text),
    **dict.fromkeys(("problems", "tokens"), _COUNT),
    "seconds": finite,
}
_ENDED: dict[str, Reader] = {
    "seconds": finite,
    "exit_code": integer(0, 255),
    **dict.fromkeys(("interrupted", "at_first"), flag),
    "coverage": optional(lambda where, value: Coverage.from_dict(value)),  # noqa: ARG005 (it names its own fields)
    "error": text,
    "states": mapping_of(_COUNT),
}


def _state(where: str, value: Any) -> State:
    """Return the state whose word it is. Raises ProblemError."""
    return State(one_of([*map(str, State)])(where, value))


_CELL: dict[str, Reader] = {**dict.fromkeys((*_IDENTITY, "why"), text), "state": _state}
_LOST: dict[str, Reader] = {**dict.fromkeys((*_IDENTITY, "how"), text), "process": _COUNT}
_NAMES = {
    RunStarted: "run_started",
    RunReady: "run_ready",
    RoundEnded: "round_ended",
    LawBroken: "law_broken",
    CauseSpread: "cause_spread",
    FaultHunted: "fault_hunted",
    WorkerLost: "worker_lost",
    CellEnded: "cell_ended",
    RunEnded: "run_ended",
}
_READ: dict[str, Reader] = {
    "run_started": lambda where, data: record(RunStarted, _STARTED, where, data),
    "run_ready": lambda where, data: record(RunReady, _READY, where, data),
    "round_ended": lambda where, data: RoundEnded(record(CellResult, _RESULT, where, data)),
    "law_broken": lambda where, data: LawBroken(record(Failure, FAILURE_READERS, where, data)),
    "cause_spread": lambda where, data: record(CauseSpread, _SPREAD, where, data),
    "fault_hunted": lambda where, data: record(FaultHunted, _HUNTED, where, data),
    "worker_lost": lambda where, data: record(WorkerLost, _LOST, where, data),
    "cell_ended": lambda where, data: record(CellEnded, _CELL, where, data),
    "run_ended": lambda where, data: record(RunEnded, _ENDED, where, data),
}
