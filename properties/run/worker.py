"""Work of one worker process: one round of one cell, or the corpus of one backend in one dtype.

Everything comes and goes by name or as plain data, since backends do not travel between processes.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from properties.laws import LAWS
from properties.laws.law import Law, OutsideLaw
from properties.laws.patience import ask_patiently
from properties.run.afresh import History, call_before
from properties.run.causes import NOTHING_HEARD, Heard
from properties.run.first_look import look
from properties.run.going_on import CellRound
from properties.run.round import Broken
from properties.run.telling import asked_again, in_dtype, with_need
from properties.run.telling import failure_of as failure_of  # handed on to those who replay
from verification.backends.devices import wake_device
from verification.backends.flags import settle
from verification.backends.observe import listening
from verification.backends.protocol import Backend
from verification.isolation.isolated import open_backend, wake
from verification.oracle.judge import Verdict, Violation
from verification.oracle.violation import Hang, LateWrite
from verification.problem import Problem
from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.findings import Finding, load_folder, shown
from verification.records.results import REPLAY, CellResult

CORPUS = REPLAY
# In the place of the law's name: the first look at a backend, whose cells have no turn before it.
FIRST_LOOK = "first look"
_BY_NAME = {law.name: law for law in LAWS}
KINDS = {law.name: law.kind for law in LAWS}


@dataclass(frozen=True)
class Task:
    """Work for one worker: a round of a cell; where the law is `CORPUS`, the files of a folder; or a `FIRST_LOOK`."""

    law: str
    """Name of the law."""
    dtype: str
    """Format of q, k and v."""
    source: str
    """Name under which the catalogue has the backend."""
    device: str
    """Where it is asked."""
    seed: int = 0
    """The seed of the run."""
    examples: int = 0
    """How many problems the round has."""
    seconds: float | None = None
    """When it ends, with fewer problems; None where their number is the budget."""
    round_: int = 0
    """Number of the round: each tries other problems."""
    corpus: Path | None = None
    """The folder of problems that are replayed; None in a round of a law."""
    crash_after: float | None = None
    """Seconds in which a backend that is not ours answers, or has crashed; None where all are trusted."""
    causes: tuple[Failure, ...] = ()
    """Causes of failures of the backend that are known by now."""
    heard: Heard = NOTHING_HEARD
    """What the cell goes on without."""


@dataclass(frozen=True)
class Done:
    """Results of a task."""

    result: CellResult
    """Counts of what was tried."""
    failures: tuple[Failure, ...]
    """Broken laws, one for each cause that was not known."""
    coverage: Coverage
    """Features that the problems had."""
    met: tuple[Failure, ...] = ()
    """Known causes by which the cell broke."""
    heard: Heard = NOTHING_HEARD
    """What the cell goes on without."""
    cannot_run: Failure | None = None
    """The failure of a backend that raises on every problem."""


class AtWork(NamedTuple):
    """Tasks of the processes of a pool, when one of them is free."""

    last: Task | None = None
    """The latest task of the free process."""
    others: tuple[Task, ...] = ()
    """Tasks on which the others are."""


class _Stop:
    """Tells whether the session wants this process to end."""

    event: Event | None = None

    @classmethod
    def is_set(cls) -> bool:
        return cls.event is not None and cls.event.is_set()


class _Ready:
    """Tells the session that a problem can be asked here."""

    event: Event | None = None

    @classmethod
    def set(cls) -> None:
        if cls.event is not None and not cls.event.is_set():
            cls.event.set()


def init_worker(stop: Event, ready: Event) -> None:
    """Make a process a worker. It ignores Ctrl-C, which the session answers and tells of."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Stop.event, _Ready.event = stop, ready
    settle()


def run_task(task: Task) -> Done:
    backend = open_backend(task.source, task.device, task.crash_after)
    wake(backend)
    wake_device(task.device)
    _Ready.set()
    history = _history_of(task.source, task.device)
    with listening(history):
        if task.law == FIRST_LOOK:
            cannot_run = look(backend, task.source, task.seed, _Stop.is_set)
            nothing = CellResult(FIRST_LOOK, task.dtype, backend.device, backend.name)
            return Done(nothing, (), Coverage.of([]), cannot_run=cannot_run)
        if task.corpus is not None:
            return _replayed(task, backend, task.corpus)
        cell = CellRound(
            _BY_NAME[task.law],
            backend,
            task.source,
            task.dtype,
            task.seed,
            history,
            _Stop.is_set,
            list(task.causes),
            task.heard,
        )
        result, coverage = cell.run(task.examples, task.round_, task.seconds)
    return Done(result, tuple(cell.found), coverage, tuple(cell.met), cell.heard)


@cache
def _history_of(source: str, device: str) -> History:  # noqa: ARG001 (one for each)
    """Return the calls that this process has made of a backend."""
    return History()


def replay(
    problem: Problem,
    backend: Backend,
    laws: list[Law],
    source: str = "",
    before: tuple[Problem, ...] = (),
    *,
    patient: bool = False,
) -> tuple[float | None, list[Failure]]:
    """Ask every law that speaks of a problem. Return the largest err/bound, None where none said anything, and what
    broke. The law that once broke on it may have another name by now. A backend that promises nothing about the problem
    is not asked. Where calls must come ``before`` it, they are made of a fresh backend for each law. With ``patient``
    the memory of its calls is looked at once more, which takes 30 ms a law.
    """
    ratio, found = _ask_each(problem, backend, laws, source, before, ask_patiently if patient else Law.ask)
    return ratio, [failure_of(law, backend, broken, source or backend.name, before=before) for law, broken in found]


def _ask_each(
    problem: Problem,
    backend: Backend,
    laws: list[Law],
    source: str = "",
    before: tuple[Problem, ...] = (),
    ask: Callable[[Law, Backend, Problem], Verdict] = Law.ask,
) -> tuple[float | None, list[tuple[Law, Broken]]]:
    """Return the largest err/bound and the laws that break, as `replay` does."""
    ratios, found = [], []
    for law in laws if backend.contract.speaks_of(problem) else ():
        if not law.speaks_of(problem, backend.device):
            continue
        asked = call_before(before, backend, source) if before else backend
        try:
            ratios.append(ask(law, asked, problem).ratio)
        except OutsideLaw:
            continue
        except Violation as violation:
            ratios.append(0.0)
            found.append((law, Broken(problem, violation)))
            if isinstance(violation, Hang | LateWrite):  # under the other laws it would take as long again, each
                break
    return max(ratios, default=None), found


def _replayed(task: Task, backend: Backend, corpus: Path) -> Done:
    left, until = 0, float("inf") if task.seconds is None else time.monotonic() + task.seconds
    start, problems, ratios, reasons = time.monotonic(), 0, [0.0], Counter[str]()
    broken: list[tuple[str, list[tuple[Law, Broken]], Finding]] = []
    for name, finding in load_folder(corpus).items():
        problem = in_dtype(finding.problem, task.dtype)
        if problem is None or _Stop.is_set():
            continue
        if problems and time.monotonic() > until:
            left += 1
            continue
        ratio, found = _ask_each(problem, backend, LAWS, task.source, finding.before)
        problems += 1
        if ratio is None:
            asked = backend.contract.speaks_of(problem)
            reasons["no law says anything about it" if asked else "the contract does not speak of it"] += 1
        ratios.append(ratio or 0.0)
        if found:
            broken.append((shown(corpus / name), found, finding))
    said = "; ".join(f"{name}: {law.name}" for name, found, _ in broken for law, _ in found)
    seconds = time.monotonic() - start
    identity = (CORPUS, task.dtype, backend.device, backend.name)
    counted = CellResult(*identity, problems, reasons.total(), max(ratios), seconds)
    ended = f"its time was over before {left} files of {shown(corpus)}" if left else ""
    result = replace(counted, failure=said, reasons=dict(reasons), ended=ended)
    return Done(result, _told_of(task, backend, broken), Coverage.of([]))


def _told_of(
    task: Task, backend: Backend, broken: list[tuple[str, list[tuple[Law, Broken]], Finding]]
) -> tuple[Failure, ...]:
    """Return a failure for each first law that breaks on some file: of many files that break one law, the smallest says
    it best, and tells which laws break with it.
    """
    order = list(_BY_NAME)
    told: dict[str, Failure] = {}
    broken = sorted(broken, key=lambda each: (order.index(each[1][0][0].name), each[1][0][1].problem.num_tokens))
    for name, [(law, first), *others], finding in broken:
        key = first.violation.raised or law.name
        if key in told:
            continue
        if isinstance(first.violation, Hang) or finding.before:
            failure = failure_of(law, backend, first, task.source, _Stop.is_set, finding.before)
        else:
            history = _history_of(task.source, task.device)
            failure = asked_again(law, backend, first, task.source, history, _Stop.is_set)
        cells = tuple((each.name, task.dtype) for each, _ in ((law, first), *others))
        kept = name if failure.finding.calls == finding.calls else ""  # else it gets a file of its own
        told[key] = with_need(replace(failure, kept=kept, cells=cells), law, backend, first, task.seed, _Stop.is_set)
    return tuple(told.values())
