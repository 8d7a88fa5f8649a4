"""A run: rounds of all cells in worker processes, until the budget is spent, and the events that tell of it."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from properties.run.cells import Cell
from properties.run.worker import CORPUS, Done, Task, init_worker, run_task
from verification.backends.flags import recorded_flags
from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.findings import save
from verification.records.results import CellResult
from verification.reporting.events import LawBroken, Reporter, RoundEnded, RunEnded, RunStarted

# Problems a round, the last for all that follow: every cell tries a few before any tries many, and a long round costs
# less a problem than a short one.
ROUNDS = (50, 100, 200, 400)
NOTHING, VIOLATION, NOT_VERIFIED, INTERRUPTED = 0, 1, 3, 130
# How long the workers may take to hand over what they have, once they are told to stop.
_GRACE = 1.0


class WorkerDied(RuntimeError):
    """A process of the harness is gone: whatever it was trying killed it."""


@dataclass(frozen=True)
class Plan:
    """``examples`` a cell, or all that fits before ``deadline`` (of `time.monotonic`). ``crash_after``: see `Task`."""

    cells: Sequence[Cell]
    seed: int
    examples: int | None = None
    minutes: float | None = None
    deadline: float = float("inf")
    workers: int = 1
    findings: Path = Path("findings")
    corpus: Path | None = None
    require_cuda: bool = False
    crash_after: float | None = None
    command: str = ""


@dataclass
class _Run:
    """What the parent process knows while it goes on."""

    plan: Plan
    reporters: Sequence[Reporter]
    broken: set[tuple[str, ...]] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    verified: int = 0
    coverage: Coverage = field(default_factory=lambda: Coverage.of([]))

    def tell(self, event: RunStarted | RoundEnded | LawBroken | RunEnded) -> None:
        for reporter in self.reporters:
            reporter.receive(event)

    def handed_over(self, outcome: Done) -> None:
        self.coverage += outcome.coverage
        self.verified += outcome.result.verified
        if outcome.result.failure:
            self.broken.add(outcome.result.cell)
        self.tell(RoundEnded(outcome.result))
        for failure in outcome.failures:
            # Two rounds of a cell may be under way when its law breaks, and end at the same smallest problem.
            if failure.finding.file_name not in self.found:
                self.found.add(failure.finding.file_name)
                self.tell(LawBroken(_saved(failure, self.plan.findings)))

    def exit_code(self, interrupted: bool) -> int:
        missing = self.plan.require_cuda and any(cell.cannot_run() for cell in self.plan.cells)
        if self.broken or missing:
            return VIOLATION
        if interrupted:
            return INTERRUPTED
        return NOTHING if self.verified else NOT_VERIFIED


def run(plan: Plan, reporters: Sequence[Reporter]) -> int:
    """The exit code: 0 nothing found, 1 a law is broken, 3 nothing was verified, 130 interrupted with nothing found.

    Raises WorkerDied, or what the harness itself failed with, after the reports of what was done so far.
    """
    start, state, interrupted = time.monotonic(), _Run(plan, reporters), False
    failed: Exception | None = None
    state.tell(_started(plan))
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
    code = NOT_VERIFIED if failed and not state.broken else state.exit_code(interrupted)
    state.tell(RunEnded(time.monotonic() - start, code, interrupted, state.coverage))
    if failed:
        raise failed
    return code


def _work(state: _Run, workers: ProcessPoolExecutor, stop: Callable[[], None]) -> None:
    """Keeps every worker busy. Ends with the budget; where a person ends it, with what the workers have by then."""
    tasks, pending, interrupted = _tasks(state), dict[Future[Done], Task](), None
    try:
        while True:
            # One more than there are workers, so that none of them waits for this process.
            while len(pending) <= state.plan.workers and (task := next(tasks, None)):
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


def _tasks(state: _Run) -> Iterator[Task]:
    """The corpus first. A law that broke in a cell is not asked there again."""
    plan = state.plan
    cells = [cell for cell in plan.cells if not cell.cannot_run()]
    if plan.corpus:
        for dtype, source, device in dict.fromkeys((cell.dtype, cell.source, cell.backend.device) for cell in cells):
            yield Task(CORPUS, dtype, source, device, corpus=plan.corpus, crash_after=plan.crash_after)
    left = plan.examples
    for round_ in count():
        examples = ROUNDS[min(round_, len(ROUNDS) - 1)]
        examples = examples if left is None else min(examples, left)
        if examples <= 0 or all(cell.identity in state.broken for cell in cells):
            return
        left = left - examples if left is not None else None
        for cell in cells:
            if cell.identity not in state.broken:
                where = (cell.law.name, cell.dtype, cell.source, cell.backend.device)
                yield Task(*where, plan.seed, examples, round_, crash_after=plan.crash_after)


def _saved(failure: Failure, folder: Path) -> Failure:
    """Where the finding is, or why it is nowhere but on the screen."""
    if failure.kept:
        return failure
    try:
        return replace(failure, kept=str(save(failure.finding, folder)))
    except OSError as error:
        return replace(failure, not_kept=f"{folder}: {error.strerror or error}")


def _started(plan: Plan) -> RunStarted:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return RunStarted(
        now,
        plan.seed,
        plan.command,
        plan.minutes,
        plan.examples,
        plan.workers,
        cells=sum(not cell.cannot_run() for cell in plan.cells),
        machine=recorded_flags() | _outside(plan.cells),
    )


def _outside(cells: Sequence[Cell]) -> dict[str, str]:
    """What is not tried on each backend, since it promises nothing there."""
    contracts = {cell.backend.name: cell.backend.contract for cell in cells}
    return {f"outside the contract of {name}:": "; ".join(c.outside) for name, c in contracts.items() if c.outside}


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
