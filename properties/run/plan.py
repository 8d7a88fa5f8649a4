"""Plans of runs, and the tasks that a run is made of: rounds of all cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from properties.run.causes import Heard
from properties.run.cells import Cell
from properties.run.telling import in_dtype
from properties.run.worker import CORPUS, FIRST_LOOK, Task
from verification.backends.flags import recorded_flags
from verification.records.failure import Failure
from verification.records.findings import load_folder
from verification.records.results import Identity
from verification.reporting.events import RunStarted

# Problems of a cell in each round, the last for all rounds that follow. Ten at first, so that every cell is reached
# soon: of the command without options about 20 s after its start on two cores. With forty more they are the fifty that
# CI asks of each cell (.ci/run). Later rounds are long, since a problem of a long round costs less.
ROUNDS = (10, 40, 100, 200, 400)


@dataclass(frozen=True)
class Plan:
    """Options of a run."""

    cells: Sequence[Cell]
    """All that is to be tried: in each ``examples`` problems, or as many as fit before ``deadline``."""
    seed: int
    """The number that repeats the run."""
    examples: int | None = None
    """How many problems a cell has; None where time is the budget."""
    minutes: float | None = None
    """The budget in minutes, as it is told; None where problems are."""
    deadline: float = float("inf")
    """When the workers stop, by `time.monotonic`."""
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


def tasks(
    plan: Plan, heard_by: Callable[[Cell], Heard], causes_of: Callable[[Cell], tuple[Failure, ...]] = lambda _: ()
) -> Iterator[Task]:
    """Make the tasks of all rounds, after a first look at each backend and the corpus.

    A cell that has broken goes on without what ``heard_by`` says of it, and gets no task where it has ended by then.
    ``causes_of`` says which causes are known of its backend.
    """

    def is_ended(cell: Cell) -> bool:
        return bool(heard_by(cell).ended)

    cells = _able(plan)
    yield from _looks(plan)
    for (_, dtype, device, name), task in _replays(plan).items():
        if not all(is_ended(cell) for cell in cells if cell.identity[1:] == (dtype, device, name)):
            yield task
    left = plan.examples
    for round_ in count():
        examples = ROUNDS[min(round_, len(ROUNDS) - 1)]
        examples = examples if left is None else min(examples, left)
        if examples <= 0 or all(map(is_ended, cells)):
            return
        left = left - examples if left is not None else None
        for cell in cells:
            if not is_ended(cell):
                where = (cell.law.name, cell.dtype, cell.source, cell.backend.device)
                yield Task(
                    *where,
                    plan.seed,
                    examples,
                    round_,
                    crash_after=plan.crash_after,
                    causes=causes_of(cell),
                    heard=heard_by(cell),
                )


def _looks(plan: Plan) -> Iterator[Task]:
    """Yield the first look at each backend."""
    for source, device in dict.fromkeys((cell.source, cell.backend.device) for cell in _able(plan)):
        yield Task(FIRST_LOOK, "", source, device, plan.seed, crash_after=plan.crash_after)


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
    return found


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
        machine=recorded_flags() | _outside(plan.cells),
    )


def _outside(cells: Sequence[Cell]) -> dict[str, str]:
    """Return what is not tried on each backend, since it promises nothing there."""
    contracts = {cell.backend.name: cell.backend.contract for cell in cells}
    return {f"outside the contract of {name}:": "; ".join(c.outside) for name, c in contracts.items() if c.outside}
