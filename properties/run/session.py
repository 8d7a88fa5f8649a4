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

from properties.run.known import Known
from properties.run.plan import Plan, started, tasks
from properties.run.worker import Done, Task, init_worker, run_task
from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.findings import save
from verification.records.results import CellResult, State
from verification.reporting.events import CellEnded, Event, Reporter, RoundEnded, RunEnded
from verification.reporting.summary import Summary

NOTHING, VIOLATION, NOT_VERIFIED, INTERRUPTED = 0, 1, 3, 130
# How long the workers may take to hand over what they have, once they are told to stop.
_GRACE = 1.0


class WorkerDied(RuntimeError):
    """Raised where a process of the harness is gone: whatever it was trying killed it."""


@dataclass
class _Run:
    """Knowledge of the parent process while a run goes on."""

    plan: Plan
    reporters: Sequence[Reporter]
    known: Known
    summary: Summary = field(default_factory=Summary)
    coverage: Coverage = field(default_factory=lambda: Coverage.of([]))

    def tell(self, event: Event) -> None:
        """Let everybody hear of it."""
        for reporter in (self.summary, *self.reporters):
            reporter.receive(event)

    def handed_over(self, outcome: Done) -> None:
        """Tell what a worker brought. A round that was stopped before its first problem is none."""
        self.coverage += outcome.coverage
        if outcome.result.state is not State.NOT_REACHED:
            self.tell(RoundEnded(outcome.result))
        for event in self.known.take(outcome):
            self.tell(event)

    @property
    def has_enough(self) -> bool:
        """Return True if a run that ends at its first finding has one."""
        return self.plan.stop_at_first and bool(self.known.causes)

    def end(self, seconds: float, interrupted: bool, failed: Exception | None) -> int:
        """Tell what every cell came to, and that the run is over. Return the exit code."""
        code = exit_code(self.plan, self.summary, interrupted, failed)
        error = f"{type(failed).__name__}: {failed}".splitlines()[0] if failed else ""
        for result in self.summary.results:
            self.tell(CellEnded(*result.cell, result.state, result.why))
        states = {str(state): count for state, count in self.summary.states.items()}
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
    start, state, interrupted = time.monotonic(), _Run(plan, reporters, known), False
    failed: Exception | None = None
    state.tell(announced)
    for cell in plan.cells:
        if reason := cell.cannot_run():
            state.tell(RoundEnded(CellResult(*cell.identity, skipped=reason)))
    context = multiprocessing.get_context("spawn")  # a forked process may not use CUDA
    stop = context.Event()
    workers = ProcessPoolExecutor(plan.workers, context, init_worker, (stop,))
    try:
        _work(state, workers, stop.set)
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
    code = state.end(time.monotonic() - start, interrupted, failed)
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


def _work(state: _Run, workers: ProcessPoolExecutor, stop: Callable[[], None]) -> None:
    """Keep every worker busy until the budget or a person ends it; then take over what the workers have by then."""
    ahead = tasks(state.plan, state.known.heard_by, state.known.causes_of)
    pending, interrupted = dict[Future[Done], Task](), None
    try:
        while True:
            # One more than there are workers, so that none of them waits for this process.
            while len(pending) <= state.plan.workers and (task := next(ahead, None)):
                with _interrupts_held():
                    pending[workers.submit(run_task, task)] = task
            if not pending:
                return
            rest = state.plan.deadline - time.monotonic()
            if rest <= 0:
                break
            ended, _ = wait(pending, min(rest, 3600), FIRST_COMPLETED)
            for future in ended:
                del pending[future]
                state.handed_over(future.result())
            if state.has_enough:
                break
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
