"""The events of a run, and their JSON: one object a line, described in docs/events.md."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol

from verification.problem.reading import (
    INT64,
    ProblemError,
    Reader,
    finite,
    flag,
    integer,
    jsonable,
    mapping_of,
    optional,
    parsed,
    record,
    text,
    tuple_of,
)
from verification.records.coverage import Coverage
from verification.records.failure import READERS as FAILURE_READERS
from verification.records.failure import Failure
from verification.records.results import CellResult

VERSION = 1


@dataclass(frozen=True)
class RunStarted:
    """``minutes`` or ``examples`` a cell is the budget. ``machine`` and ``flags`` say what it ran on."""

    started: str
    seed: int
    command: str = ""
    minutes: float | None = None
    examples: int | None = None
    workers: int = 1
    cells: int = 0
    machine: dict[str, str] = field(default_factory=dict)
    version: int = VERSION


@dataclass(frozen=True)
class RoundEnded:
    """What one round of one cell came to. A cell that cannot run has one such event, with its reason."""

    result: CellResult


@dataclass(frozen=True)
class LawBroken:
    """A law broke; the problem is as small as it gets."""

    failure: Failure


@dataclass(frozen=True)
class FaultHunted:
    """A planted fault, hunted with the ordinary laws. ``law`` killed it; empty for a survivor."""

    id: str
    sentence: str
    citation: str = ""
    law: str = ""
    dtype: str = ""
    problems: int = 0
    seconds: float = 0.0
    tokens: int = 0
    words: str = ""


@dataclass(frozen=True)
class RunEnded:
    """``interrupted`` says that a person ended it. ``coverage`` counts pairs of features over all problems."""

    seconds: float
    exit_code: int
    interrupted: bool = False
    coverage: Coverage | None = None


Event = RunStarted | RoundEnded | LawBroken | FaultHunted | RunEnded


class Reporter(Protocol):
    """Knows nothing of laws or backends: it hears of them."""

    def receive(self, event: Event) -> None: ...


def to_line(event: Event) -> str:
    """One line of JSON."""
    match event:
        case RoundEnded(result):
            data = {name: value for name, value in result.to_dict().items() if value not in (0, "", (), [])}
        case LawBroken(failure):
            data = failure.to_dict()
        case RunEnded():
            data = {item.name: getattr(event, item.name) for item in fields(event)}
            data["coverage"] = event.coverage.to_dict() if event.coverage else None
        case _:
            data = asdict(event)
    return json.dumps({"event": _NAMES[type(event)], **jsonable(data)})


def from_line(line: str) -> Event:
    """What `to_line` wrote. Raises ProblemError, one line that names the field."""
    data = parsed(line, "event")
    kind = data.pop("event", None) if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in _READ:
        raise ProblemError(f"event: must be an object whose event is one of {', '.join(_READ)}")
    event: Event = _READ[kind]("", data)
    return event


def read_events(path: Path) -> list[Event]:
    """All events of a file. Raises ProblemError, which names file, line and field."""
    events: list[Event] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for i, line in enumerate(lines, start=1):
                try:
                    events.append(from_line(line))
                except ProblemError as error:
                    raise ProblemError(f"line {i}: {error}") from None
        if not events or not isinstance(events[0], RunStarted) or events[0].version != VERSION:
            raise ProblemError(f"line 1: must be run_started, version {VERSION}")
    except (OSError, UnicodeDecodeError, ProblemError) as error:
        raise ProblemError(f"{path}: {str(error).splitlines()[0]}") from None
    return events


_COUNT = integer(0, INT64 - 1)
_RESULT: dict[str, Reader] = {
    **dict.fromkeys(("law", "dtype", "device", "implementation", "failure", "skipped"), text),
    **dict.fromkeys(("problems", "outside"), _COUNT),
    **dict.fromkeys(("score", "seconds", "found_after"), finite),
    "digest": integer(0, 2**64 - 1),
    "histogram": tuple_of(_COUNT),
}
_STARTED: dict[str, Reader] = {
    **dict.fromkeys(("started", "command"), text),
    **dict.fromkeys(("seed", "workers", "cells", "version"), _COUNT),
    "minutes": optional(finite),
    "examples": optional(_COUNT),
    "machine": mapping_of(text),
}
_HUNTED: dict[str, Reader] = {
    **dict.fromkeys(("id", "sentence", "citation", "law", "dtype", "words"), text),
    **dict.fromkeys(("problems", "tokens"), _COUNT),
    "seconds": finite,
}
_ENDED: dict[str, Reader] = {
    "seconds": finite,
    "exit_code": integer(0, 255),
    "interrupted": flag,
    "coverage": optional(lambda where, value: Coverage.from_dict(value)),  # noqa: ARG005 (it names its own fields)
}
_NAMES = {
    RunStarted: "run_started",
    RoundEnded: "round_ended",
    LawBroken: "law_broken",
    FaultHunted: "fault_hunted",
    RunEnded: "run_ended",
}
_READ: dict[str, Reader] = {
    "run_started": lambda where, data: record(RunStarted, _STARTED, where, data),
    "round_ended": lambda where, data: RoundEnded(record(CellResult, _RESULT, where, data)),
    "law_broken": lambda where, data: LawBroken(record(Failure, FAILURE_READERS, where, data)),
    "fault_hunted": lambda where, data: record(FaultHunted, _HUNTED, where, data),
    "run_ended": lambda where, data: record(RunEnded, _ENDED, where, data),
}
