"""Runs: rounds of all cells in worker processes, until the budget is spent, and the events that tell of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from properties.run.cells import Cell
from properties.run.plan import Plan, started, tasks
from properties.run.worker import Done, Task, init_worker, run_task
from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.findings import save
from verification.records.results import CellResult, State
from verification.reporting.events import CellEnded, Event, LawBroken, Reporter, RoundEnded, RunEnded, RunReady, tell
from verification.reporting.summary import Summary

NOTHING, VIOLATION, NOT_VERIFIED, INTERRUPTED = 0, 1, 3, 130
# How long the workers may take to hand over what they have, once they are told to stop.
_GRACE = 1.0
# Seconds of a budget that are kept for its end: for the problems that are being checked by then, and for the reports.
_RESERVE = 1.5
# Seconds between two looks at whether a worker is ready, and the longest start: a budget of minutes is spent after it.
_GLANCE, _LONGEST_START = 0.1, 600.0


class WorkerDied(RuntimeError):
    """Raised where a process of the harness is gone: whatever it was trying killed it."""


@dataclass
class _Run:
    """Knowledge of the parent process while a run goes on."""

    plan: Plan
    """The options of the run."""
    reporters: Sequence[Reporter]
    """Whoever hears of it."""
    summary: Summary = field(default_factory=Summary)
    """What it came to so far."""
    found: set[str] = field(default_factory=set)
    """Names of the files of all findings."""
    coverage: Coverage = field(default_factory=lambda: Coverage.of([]))
    """Which features were tried together."""
    is_ready: bool = False
    """True once the first problem can be asked."""
    deadline: float = float("inf")
    """When the workers stop, by `time.monotonic`."""

    def tell(self, event: Event) -> None:
        """Let everybody hear of it."""
        tell(event, (self.summary, *self.reporters))

    def ready(self) -> None:
        """Tell that the first problem can be asked. A budget of minutes begins here."""
        now, self.is_ready = time.monotonic(), True
        if self.plan.minutes:
            self.deadline = now + 60 * self.plan.minutes - _RESERVE
        self.tell(RunReady(now - self.plan.began))

    def is_broken(self, cell: Cell) -> bool:
        """Return whether the law of the cell broke in an earlier round."""
        return self.summary.result(cell.identity).state is State.BROKEN

    def handed_over(self, outcome: Done) -> None:
        """Tell what a worker brought. A round that was stopped before its first problem is none."""
        self.coverage += outcome.coverage
        if outcome.result.state is not State.NOT_REACHED:
            self.tell(RoundEnded(outcome.result))
        for failure in outcome.failures:
            # Two rounds of a cell may be under way when its law breaks, and end at the same smallest problem.
            if failure.finding.file_name not in self.found:
                self.found.add(failure.finding.file_name)
                self.tell(LawBroken(_saved(failure, self.plan.findings)))

    def end(self, interrupted: bool, failed: Exception | None) -> int:
        """Tell what every cell came to, and that the run is over. Return the exit code."""
        code = exit_code(self.plan, self.summary, interrupted, failed)
        error = f"{type(failed).__name__}: {failed}".splitlines()[0] if failed else ""
        for result in self.summary.results:
            self.tell(CellEnded(*result.cell, result.state, result.why))
        states = {str(state): count for state, count in self.summary.states.items()}
        seconds = time.monotonic() - self.plan.began
        self.tell(RunEnded(seconds, code, interrupted, self.coverage, error, states))
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
    state, interrupted = _Run(plan, reporters), False
    failed: Exception | None = None
    state.tell(started(plan))
    for cell in plan.cells:
        if reason := cell.cannot_run():
            state.tell(RoundEnded(CellResult(*cell.identity, skipped=reason)))
    context = multiprocessing.get_context("spawn")  # a forked process may not use CUDA
    stop, ready = context.Event(), context.Event()
    workers = ProcessPoolExecutor(plan.workers, context, init_worker, (stop, ready))
    try:
        _work(state, workers, stop.set, ready.is_set)
    except KeyboardInterrupt:
        interrupted = True
    except BrokenProcessPool as error:
        failed = WorkerDied(str(error))
    except Exception as error:  # of the harness or of an adapter: raised again, after the reports
        failed = error
    finally:
        stop.set()
        workers.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
    code = state.end(interrupted, failed)
    if failed and code != VIOLATION:
        raise failed
    return code


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C while a worker may be started. The worker inherits that: a person's Ctrl-C, which goes to the
    whole group, must not end it before it could say that the session answers.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(state: _Run, workers: ProcessPoolExecutor, stop: Callable[[], None], is_ready: Callable[[], bool]) -> None:
    """Keep every worker busy until the budget or a person ends it; then take over what the workers have by then."""
    ahead, pending, interrupted = tasks(state.plan, state.is_broken), dict[Future[Done], Task](), None
    if state.plan.minutes:
        state.deadline = time.monotonic() + _LONGEST_START
    try:
        while True:
            # One more than there are workers, so that none of them waits for this process.
            while len(pending) <= state.plan.workers and (task := next(ahead, None)):
                with _interrupts_held():
                    pending[workers.submit(run_task, task)] = task
            if not pending:
                return
            rest = state.deadline - time.monotonic()
            if rest <= 0:
                break
            ended, _ = wait(pending, min(rest, 3600 if state.is_ready else _GLANCE), FIRST_COMPLETED)
            if not state.is_ready and is_ready():
                state.ready()
            for future in ended:
                del pending[future]
                state.handed_over(future.result())
    except KeyboardInterrupt as error:
        interrupted = error
    stop()
    for future in list(pending):
        future.cancel()
    ended, _ = wait(pending, _GRACE)
    for future in ended:
        if not future.cancelled():
            state.handed_over(future.result())
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
