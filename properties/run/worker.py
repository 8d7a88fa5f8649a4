"""Work of one worker process: one round of one cell, or the corpus of one backend in one dtype.

Everything comes and goes by name or as plain data, since backends do not travel between processes.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby
from multiprocessing.synchronize import Event
from pathlib import Path

from properties.laws import LAWS
from properties.laws.law import Law, OutsideLaw
from properties.laws.patience import ask_patiently
from properties.run.round import Broken, fuzz
from properties.shrink.explain import find_indifferent
from verification.backends.flags import settle
from verification.backends.protocol import Backend
from verification.isolation.isolated import open_backend
from verification.oracle.diagnosis import explanations
from verification.oracle.judge import Violation
from verification.oracle.violation import Hang, LateWrite
from verification.problem import Problem
from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.findings import Finding, load_folder, shown
from verification.records.results import REPLAY, CellResult
from verification.tensors.inputs import make_inputs

CORPUS = REPLAY
_BY_NAME = {law.name: law for law in LAWS}


@dataclass(frozen=True)
class Task:
    """Work for one worker: a round of a cell; or, where the law is `CORPUS`, the files of a folder."""

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
    round_: int = 0
    """Number of the round: each tries other problems."""
    corpus: Path | None = None
    """The folder of problems that are replayed; None in a round of a law."""
    crash_after: float | None = None
    """Seconds in which a backend that is not ours answers, or has crashed; None where all are trusted."""


@dataclass(frozen=True)
class Done:
    """Results of a task."""

    result: CellResult
    failures: tuple[Failure, ...]
    coverage: Coverage


class _Stop:
    """Tells whether the session wants this process to end."""

    event: Event | None = None

    @classmethod
    def is_set(cls) -> bool:
        return cls.event is not None and cls.event.is_set()


def init_worker(stop: Event) -> None:
    """Make a process a worker. It ignores Ctrl-C, which the session answers and tells of."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Stop.event = stop
    settle()


def run_task(task: Task) -> Done:
    backend = open_backend(task.source, task.device, task.crash_after)
    if task.corpus is not None:
        return _replayed(task, backend, task.corpus)
    law = _BY_NAME[task.law]
    result, broken, coverage = fuzz(law, backend, task.dtype, task.seed, task.examples, task.round_, _Stop.is_set)
    return Done(result, (failure_of(law, backend, broken, task.source, _Stop.is_set),) if broken else (), coverage)


def failure_of(
    law: Law, backend: Backend, broken: Broken, source: str, stop: Callable[[], bool] = lambda: False
) -> Failure:
    """Return a broken law as a person needs it: what else it breaks on is looked for as long as nobody wants to stop.
    ``source`` is the name under which the catalogue has the backend, and a replay finds it.
    """

    def breaks(problem: Problem) -> bool:
        return not stop() and law.breaks(backend, problem)

    finding = Finding(broken.problem, law.name, source, backend.device, str(broken.violation))
    found = broken.violation.difference
    as_if = explanations(make_inputs(broken.problem), found.worst) if found else ()
    stopped = stop() or isinstance(broken.violation, Hang | LateWrite)  # of which every look takes its time
    any_ = () if stopped else find_indifferent(broken.problem, backend.contract.dtypes, breaks)
    return Failure(finding, law.statement, found, as_if, any_, broken.lines)


def replay(
    problem: Problem, backend: Backend, laws: list[Law], source: str = "", *, patient: bool = False
) -> tuple[float | None, list[Failure]]:
    """Ask every law that speaks of a problem. Return the largest err/bound, None where none said anything, and what
    broke. The law that once broke on it may have another name by now. A backend that promises nothing about the problem
    is not asked. With ``patient`` the memory of its calls is looked at once more, which takes 30 ms a law.
    """
    ask = ask_patiently if patient else Law.ask
    ratios, failures = [], []
    for law in laws if backend.contract.speaks_of(problem) else ():
        if not law.speaks_of(problem, backend.device):
            continue
        try:
            ratios.append(ask(law, backend, problem).ratio)
        except OutsideLaw:
            continue
        except Violation as violation:
            ratios.append(0.0)
            failures.append(failure_of(law, backend, Broken(problem, violation), source or backend.name))
            if isinstance(violation, Hang | LateWrite):  # under the other laws it would take as long again, each
                break
    return max(ratios, default=None), failures


def in_dtype(problem: Problem, dtype: str) -> Problem | None:
    """Return the same problem in ``dtype``; None where its numbers or its cache are of its own dtype."""
    if problem.dtype == dtype:
        return problem
    return None if problem.numbers or problem.cache_dtype else replace(problem, dtype=dtype)


def _replayed(task: Task, backend: Backend, corpus: Path) -> Done:
    start, problems, ratios, failures, reasons = time.monotonic(), 0, [0.0], list[Failure](), Counter[str]()
    for name, finding in load_folder(corpus).items():
        problem = in_dtype(finding.problem, task.dtype)
        if problem is None or _Stop.is_set():
            continue
        ratio, found = replay(problem, backend, LAWS, task.source)
        problems += 1
        if ratio is None:
            asked = backend.contract.speaks_of(problem)
            reasons["no law says anything about it" if asked else "the contract does not speak of it"] += 1
        ratios.append(ratio or 0.0)
        failures += [replace(failure, kept=shown(corpus / name)) for failure in found]
    broken = "; ".join(f"{failure.kept}: {failure.finding.law}" for failure in failures)
    # Of many files that break one law, the smallest says it best; the laws in their own order.
    failures.sort(key=lambda failure: (list(_BY_NAME).index(failure.finding.law), failure.finding.problem.num_tokens))
    failures = [next(group) for _, group in groupby(failures, key=lambda failure: failure.finding.law)]
    seconds = time.monotonic() - start
    identity = (CORPUS, task.dtype, backend.device, backend.name)
    counted = CellResult(*identity, problems, reasons.total(), max(ratios), seconds)
    result = replace(counted, failure=broken, reasons=dict(reasons))
    return Done(result, tuple(failures), Coverage.of([]))
