"""Runs: rounds of all cells in worker processes, until the budget is spent, and the events that tell of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from properties.run.known import Known
from properties.run.plan import Plan, shares_of, started, tasks
from properties.run.pool import Death, Pool, StartMethod
from properties.run.shares import Shares
from properties.run.worker import Done, Task
from verification.backends.devices import has_touched_cuda, list_cuda_devices
from verification.catalogue import is_foreign
from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.findings import save
from verification.records.results import CellResult, State
from verification.reporting.events import CellEnded, Event, Reporter, RoundEnded, RunEnded, RunReady, WorkerLost, tell
from verification.reporting.summary import Summary

NOTHING, VIOLATION, NOT_VERIFIED, INTERRUPTED = 0, 1, 3, 130
# Seconds in which the workers hand over what they have, once they are told to stop, and the part of a long budget: a
# problem that takes longer is lost with its round.
_GRACE, _GRACE_OF = 1.0, 0.03
# The part of a budget that is kept for its end, and the most seconds of it: for the problems that are being checked by
# then, 10 ms on most backends, and for the reports, half a second.
_RESERVE_OF, _MOST_RESERVE = 0.02, 0.5
# Seconds between two looks at whether a worker is ready, and the longest start: a budget of minutes is spent after it.
_GLANCE, _LONGEST_START = 0.1, 600.0
# Most seconds until the session sees that a person wants it to end, should Python have dropped the exception.
_LONGEST_WAIT = 0.5


class WorkerDied(RuntimeError):
    """Raised where two processes of the harness are gone after each other: the task that both had has killed them."""


@dataclass
class _Run:
    """Knowledge of the parent process while a run goes on."""

    plan: Plan
    """The options of the run."""
    reporters: Sequence[Reporter]
    """All who are told of it."""
    known: Known
    """Causes that were told, and what each cell goes on without."""
    shares: Shares | None = None
    """Time that each cell has had; None where problems are the budget."""
    summary: Summary = field(default_factory=Summary)
    """What every cell has come to so far."""
    coverage: Coverage = field(default_factory=lambda: Coverage.of([]))
    """Features that were tried together."""
    repeated: set[Task] = field(default_factory=set)
    """Tasks whose worker died once."""
    is_ready: bool = False
    """True once the first problem can be asked."""
    deadline: float = float("inf")
    """When the workers stop, by `time.monotonic`."""
    is_interrupted: bool = False
    """True once a person has pressed Ctrl-C."""

    def tell(self, event: Event) -> None:
        """Let everybody hear of it."""
        tell(event, (self.summary, *self.reporters))

    def ready(self) -> None:
        """Tell that the first problem can be asked. A budget of minutes begins here."""
        now, self.is_ready = time.monotonic(), True
        if self.plan.minutes:
            budget = 60 * self.plan.minutes
            self.deadline = now + budget - min(_MOST_RESERVE, _RESERVE_OF * budget)
        self.tell(RunReady(now - self.plan.began))

    def handed_over(self, outcome: Done) -> None:
        """Tell what a worker brought. A round that was stopped before its first problem is none."""
        self.coverage += outcome.coverage
        if self.shares:
            self.shares.take(outcome.result)
        if outcome.result.state is not State.NOT_REACHED:
            self.tell(RoundEnded(outcome.result))
        for event in self.known.take(outcome):
            self.tell(event)

    @property
    def has_enough(self) -> bool:
        """Return True if a run that ends at its first finding has one."""
        return self.plan.stop_at_first and bool(self.known.causes)

    def died(self, task: Task, death: Death) -> None:
        """Tell that a worker died, and that its task is tried again. Raises WorkerDied where it was the second one."""
        names = {(cell.source, cell.backend.device): cell.backend.name for cell in self.plan.cells}
        cell = (task.law, task.dtype, task.device, names[task.source, task.device])
        if task in self.repeated:
            raise WorkerDied(f"worker {death.process} {death.how}, as another did before, at {'-'.join(cell)}")
        self.repeated.add(task)
        self.tell(WorkerLost(*cell, death.process, death.how))

    def end(self, interrupted: bool, failed: Exception | None) -> int:
        """Tell what every cell came to, and that the run is over. Return the exit code."""
        code = exit_code(self.plan, self.summary, interrupted, failed)
        error = f"{type(failed).__name__}: {failed}".splitlines()[0] if failed else ""
        for result in self.summary.results:
            self.tell(CellEnded(*result.cell, result.state, result.why))
        states = {str(state): count for state, count in self.summary.states.items()}
        seconds = time.monotonic() - self.plan.began
        at_first = self.has_enough and bool(self.summary.states[State.NOT_REACHED])
        self.tell(RunEnded(seconds, code, interrupted, self.coverage, error, states, at_first))
        return code


def exit_code(plan: Plan, summary: Summary, interrupted: bool = False, failed: Exception | None = None) -> int:
    """Return the exit code of a run: what was found outweighs how the run ended, and that what was not reached."""
    states = summary.states
    if states[State.BROKEN] or (plan.require_cuda and states[State.NOT_RUN]):
        return VIOLATION
    if interrupted and not failed:
        return INTERRUPTED
    unasked = states[State.NOT_REACHED] and not plan.partial
    return NOT_VERIFIED if failed or unasked or not summary.verified else NOTHING


def run(plan: Plan, reporters: Sequence[Reporter]) -> int:
    """Try all cells of ``plan`` until its budget is spent. Return the exit code: 0 where every cell that could run held
    or says nothing, 1 where a law is broken, 3 where a cell was not reached or nothing was verified, 130 where a person
    ended the run with nothing found.

    Raises WorkerDied where a worker died, and whatever else the harness failed with, after the reports; where a law was
    broken by then its exit code says more.
    """
    announced = started(plan)
    known = Known(plan.cells, lambda failure: _saved(failure, plan.findings), announced.cells)
    state, interrupted = _Run(plan, reporters, known, shares_of(plan)), False
    failed: Exception | None = None
    state.tell(announced)
    for cell in plan.cells:
        if reason := cell.cannot_run():
            state.tell(RoundEnded(CellResult(*cell.identity, skipped=reason)))
    pool = Pool(plan.workers, _start_method(plan), _selectors(plan))
    try:
        with _interrupts_heard(state):
            _work(state, pool)
    except KeyboardInterrupt:
        interrupted = True
    except Exception as error:  # of the harness or of an adapter: raised again, after the reports
        failed = error
    finally:
        pool.end()
    code = state.end(interrupted, failed)
    if failed and code != VIOLATION:
        raise failed
    return code


def _start_method(plan: Plan) -> StartMethod:
    """Return how workers start: forked, each saves the seconds in which it would load torch and the laws.

    A forked process has none of the threads that other people's modules may have started. It cannot use CUDA where this
    process has called it: `attn-verify` does not, others that call `run` may have.
    """
    able = [cell for cell in plan.cells if not cell.cannot_run()]
    trusted = plan.crash_after is None and any(is_foreign(cell.source) for cell in able)
    on_cuda = any(cell.backend.device == "cuda" for cell in able)
    is_clean = not trusted and not (on_cuda and has_touched_cuda())
    return "fork" if is_clean and sys.platform == "linux" else "spawn"


def _selectors(plan: Plan) -> list[str]:
    """Return the devices that workers share out among them: all, where CUDA is asked and has several."""
    devices = list_cuda_devices() if any(cell.backend.device == "cuda" for cell in plan.cells) else ()
    return [device.selector for device in devices] if len(devices) > 1 else []


@contextmanager
def _interrupts_heard(state: _Run) -> Iterator[None]:
    """Keep in mind that a person has pressed Ctrl-C: Python drops the exception where it is raised in a callback of the
    garbage collector or of the import system. A process that ignores Ctrl-C, as one in the background of a script does,
    still ignores it.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        state.is_interrupted = True
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(state: _Run, pool: Pool) -> None:
    """Keep every worker busy until the budget or a person ends it; then take over what the workers have by then."""
    ahead = tasks(state.plan, state.known.heard_by, state.known.causes_of, state.shares, pool.at_work)
    interrupted = None
    if state.plan.minutes:
        state.deadline = time.monotonic() + _LONGEST_START
    try:
        while True:
            if state.is_interrupted:
                raise KeyboardInterrupt
            while pool.has_room and (task := next(ahead, None)):
                pool.give(task)
            rest = state.deadline - time.monotonic()
            if rest <= 0 or not pool.is_busy:
                break
            ended = pool.wait(min(rest, _LONGEST_WAIT if state.is_ready else _GLANCE))
            if not state.is_ready and pool.is_ready:
                state.ready()
            for task, outcome in ended:
                if isinstance(outcome, Death):
                    state.died(task, outcome)
                    pool.give(task)
                else:
                    state.handed_over(outcome)
            if state.has_enough:
                break
    except KeyboardInterrupt as error:
        interrupted = error
    pool.stop()
    # A person who interrupts the run waits for nothing; a long budget does not end in the middle of a slow problem.
    of_budget = 0.0 if interrupted else _GRACE_OF * 60 * (state.plan.minutes or 0.0)
    until = time.monotonic() + max(_GRACE, of_budget)
    while pool.is_busy and (rest := until - time.monotonic()) > 0:
        for _, outcome in pool.wait(rest):
            if isinstance(outcome, Done):
                state.handed_over(outcome)
    if interrupted:
        raise interrupted


def _saved(failure: Failure, folder: Path) -> Failure:
    """Return the failure with the file of its finding, or with why it is nowhere but on the screen."""
    if failure.kept:
        return failure
    try:
        return replace(failure, kept=str(save(failure.finding, folder)))
    except OSError as error:
        return replace(failure, not_kept=f"{folder}: {error.strerror or error}")


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
