"""Events as lines of JSON, one object a line; docs/events.md describes them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from verification.problem.labels import FULL_NAMES
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
from verification.records.results import CellResult, State
from verification.reporting.events import (
    VERSION,
    CauseSpread,
    CellEnded,
    Event,
    FaultHunted,
    LawBroken,
    RoundEnded,
    RunEnded,
    RunReady,
    RunStarted,
    WorkerLost,
)


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
