"""Plans of runs, and the tasks that a run is made of: rounds of all cells."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from properties.run.causes import Heard
from properties.run.cells import Cell
from properties.run.shares import Shares, Turn, slice_of
from properties.run.telling import in_dtype
from properties.run.worker import CORPUS, FIRST_LOOK, KINDS, AtWork, Task
from verification.backends.flags import recorded_flags
from verification.backends.left_out import labels_left_out
from verification.catalogue import packages_of
from verification.records.failure import Failure
from verification.records.findings import load_folder
from verification.records.results import Identity
from verification.reporting.events import RunStarted

# Problems of a cell in each round, the last for all rounds that follow. Ten at first, so that every cell is reached
# soon: of the command without options about 20 s after its start on two cores. Later rounds are long, since a problem
# of a long round costs less. Where time is the budget a round is a slice of it (`properties.run.shares`), and the first
# has ten problems at most.
ROUNDS = (10, 40, 100, 200, 400)
# The part of a budget of minutes in which the corpus is replayed, so that a slow backend has time for fresh problems.
# Where a machine of two cores has two minutes, all of it is replayed on our own layer in a tenth.
_REPLAYED = 0.25


@dataclass(frozen=True)
class Plan:
    """Options of a run."""

    cells: Sequence[Cell]
    """All that is to be tried: in each ``examples`` problems, or as many as fit into so many ``minutes``."""
    seed: int
    """The number that repeats the run."""
    examples: int | None = None
    """How many problems a cell has; None where time is the budget."""
    minutes: float | None = None
    """The budget in minutes, from the moment when the first problem can be asked; None where problems are."""
    began: float = field(default_factory=time.monotonic)
    """When the process began, by `time.monotonic`."""
    workers: int = 1
    """How many processes try problems."""
    findings: Path = Path("findings")
    """The folder that keeps what breaks a law."""
    corpus: Path | None = None
    """The folder that is replayed first."""
    require_cuda: bool = False
    """A cell that cannot run is a failure."""
    partial: bool = False
    """The budget may end before every cell was reached."""
    crash_after: float | None = None
    """Seconds without an answer that count as a crash; None where all backends are trusted (see `Task`)."""
    command: str = ""
    """The command line."""
    stop_at_first: bool = False
    """The run ends at its first finding."""


def shares_of(plan: Plan) -> Shares | None:
    """Return the shares that cells have of a budget of minutes; None where problems are the budget."""
    return Shares(slice_of(plan.minutes, plan.workers, len(_able(plan)))) if plan.minutes else None


def tasks(
    plan: Plan,
    heard_by: Callable[[Cell], Heard],
    causes_of: Callable[[Cell], tuple[Failure, ...]] = lambda _: (),
    shares: Shares | None = None,
    at_work: Callable[[], AtWork] = AtWork,
) -> Iterator[Task]:
    """Make the tasks of all rounds. Before its first cell a backend gets a first look, and the corpus.

    A cell that has broken goes on without what ``heard_by`` says of it, and gets no task where it has ended by then.
    ``causes_of`` says which causes are known of its backend. With ``shares`` a round of a cell is a slice of time, and
    a cell that has had more than the others has none. ``at_work`` says who gets the next task: a process goes on with
    cells whose problems it has (`properties.run.stream`), else with some that no other process has.
    """

    def is_ended(cell: Cell) -> bool:
        return bool(heard_by(cell).ended)

    cells, first = _able(plan), _first_tasks(plan)
    left = plan.examples
    for round_ in count():
        examples = ROUNDS[min(round_, len(ROUNDS) - 1)]
        examples = examples if left is None else min(examples, left)
        if examples <= 0 or all(map(is_ended, cells)):
            return
        left = left - examples if left is not None else None
        waiting = list(cells)
        while waiting:
            cell = _next_cell(waiting, at_work() if shares else AtWork())
            waiting.remove(cell)
            for task in first.pop((cell.source, cell.backend.device), ()):
                mine = [each for each in cells if (each.source, each.backend.device) == (task.source, task.device)]
                if not all(is_ended(each) for each in mine if task.dtype in ("", each.dtype)):
                    yield task
            turn = None if is_ended(cell) else _turn(shares, cell, round_, examples)
            if turn:
                where = (cell.law.name, cell.dtype, cell.source, cell.backend.device)
                yield Task(
                    *where,
                    plan.seed,
                    turn.examples,
                    turn.seconds,
                    round_,
                    crash_after=plan.crash_after,
                    causes=causes_of(cell),
                    heard=heard_by(cell),
                )


def _next_cell(waiting: Sequence[Cell], now: AtWork) -> Cell:
    """Return the first cell about whose kind of problems the process was asked last; else the first of a kind that no
    other process has now, or of any.
    """
    same = (cell for cell in waiting if now.last and _is_alike(cell, now.last))
    free = (cell for cell in waiting if not any(_is_alike(cell, task) for task in now.others))
    return next(same, None) or next(free, waiting[0])


def _is_alike(cell: Cell, task: Task) -> bool:
    """Return True if a round of the cell may have the same problems as the task."""
    where = task.dtype, task.source, task.device
    return (cell.dtype, cell.source, cell.backend.device) == where and KINDS.get(task.law) == cell.law.kind


def _turn(shares: Shares | None, cell: Cell, round_: int, examples: int) -> Turn | None:
    return shares.turn(cell.identity, round_, examples) if shares else Turn(examples)


def _first_tasks(plan: Plan) -> dict[tuple[str, str], list[Task]]:
    """Return the first look at each backend and the replays of the corpus, by source and device.

    One backend that is slow to answer keeps no other waiting, as it would if all looks came first.
    """
    found: dict[tuple[str, str], list[Task]] = {}
    for cell in _able(plan):
        where = cell.source, cell.backend.device
        if where not in found:
            found[where] = [Task(FIRST_LOOK, "", *where, plan.seed, crash_after=plan.crash_after)]
    for task in _replays(plan).values():
        found[task.source, task.device].append(task)
    return found


def _able(plan: Plan) -> list[Cell]:
    """Return the cells that can run here."""
    return [cell for cell in plan.cells if not cell.cannot_run()]


def _replays(plan: Plan) -> dict[Identity, Task]:
    """Return the tasks that replay the corpus, by cell: one for each backend and dtype in which it has a problem."""
    kept = load_folder(plan.corpus).values() if plan.corpus else ()
    found = {}
    for cell in _able(plan):
        dtype, device = cell.dtype, cell.backend.device
        if any(in_dtype(finding.problem, dtype) for finding in kept):
            task = Task(CORPUS, dtype, cell.source, device, corpus=plan.corpus, crash_after=plan.crash_after)
            found[CORPUS, dtype, device, cell.backend.name] = task
    seconds = _REPLAYED * 60 * plan.minutes * plan.workers / max(1, len(found)) if plan.minutes else None
    return {identity: replace(task, seconds=seconds) for identity, task in found.items()}


def started(plan: Plan) -> RunStarted:
    """Return the event that a run of ``plan`` starts with."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return RunStarted(
        now,
        plan.seed,
        plan.command,
        plan.minutes,
        plan.examples,
        plan.workers,
        cells=(*_replays(plan), *(cell.identity for cell in _able(plan))),
        machine=recorded_flags() | _packages(plan.cells) | _outside(plan.cells),
        left_out=_left_out(_able(plan)),
    )


def _packages(cells: Sequence[Cell]) -> dict[str, str]:
    """Return the versions of the installed packages that the kernels stand on."""
    found: dict[str, str] = {}
    for source in dict.fromkeys(cell.source for cell in cells):
        found |= packages_of(source)
    return found


def _left_out(cells: Sequence[Cell]) -> tuple[tuple[str, ...], ...]:
    """Return for each kind of call that is asked, a phase of a backend, the labels that no problem of it can have."""
    found = []
    for name, device in dict.fromkeys((cell.backend.name, cell.backend.device) for cell in cells):
        mine = [cell for cell in cells if (cell.backend.name, cell.backend.device) == (name, device)]
        contract, dtypes = mine[0].backend.contract, {cell.dtype for cell in mine}
        asked = [phase for phase in contract.phases if any(phase in cell.law.phases for cell in mine)]
        found += [labels_left_out(contract, phase, dtypes) for phase in asked]
    return tuple(dict.fromkeys(found))


def _outside(cells: Sequence[Cell]) -> dict[str, str]:
    """Return what is not tried on each backend, since it promises nothing there."""
    contracts = {cell.backend.name: cell.backend.contract for cell in cells}
    return {f"outside the contract of {name}:": "; ".join(c.outside) for name, c in contracts.items() if c.outside}
