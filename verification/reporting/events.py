"""Events of a run, and their JSON: one object a line, described in docs/events.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from verification.problem.printable import printable_in
from verification.records.coverage import Coverage
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
    """Told when a process of the run died, or lost its device, before its round ended. The round is tried again, in
    another process.
    """

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
    """How it ended, as "died of SIGKILL"."""

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
