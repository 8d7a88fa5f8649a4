"""Time of a run is shared out alike, whatever a problem of a cell takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count

import pytest

from properties.run.causes import Heard
from properties.run.cells import cells
from properties.run.plan import ROUNDS, Plan, shares_of, tasks
from properties.run.shares import SLICES, Shares, slice_of
from properties.run.worker import FIRST_LOOK, Task
from verification.records.results import CellResult

ALL = cells(["attn_core/eager"], ["cpu"])
CELLS = ALL[:10]
SLOW, FAST = CELLS[3].identity, CELLS[4].identity


def result_of(task: Task, cost: float) -> CellResult:
    """What comes of a task each problem of which takes so long, as a round counts it: time ends it between two."""
    seconds = float("inf") if task.seconds is None else task.seconds
    problems = next(tried for tried in count(1) if tried == task.examples or tried * cost > seconds)
    return CellResult(task.law, task.dtype, task.device, task.source, problems, seconds=problems * cost)


def simulate(plan: Plan, slow: float, *, fair: bool = True) -> dict[tuple[str, ...], list[CellResult]]:
    """The rounds of each cell until the budget is spent, on a simulated clock. A problem of the slow cell takes so
    long, and one of the others 10 ms.
    """
    shares = shares_of(plan) if fair else None
    ahead = tasks(plan, lambda _: Heard(), shares=shares)
    found: dict[tuple[str, ...], list[CellResult]] = {cell.identity: [] for cell in plan.cells}
    under_way: list[tuple[float, int, CellResult]] = []
    clock, numbers, end = 0.0, count(), 60 * (plan.minutes or 0)
    while clock < end:
        while len(under_way) < plan.workers:
            task = next(task for task in ahead if task.law != FIRST_LOOK)
            is_slow = (task.law, task.dtype, task.device, task.source) == SLOW
            result = result_of(task, slow if is_slow else 0.01)
            heappush(under_way, (clock + result.seconds, next(numbers), result))
        clock, _, result = heappop(under_way)
        if clock < end:
            found[result.cell].append(result)
            if shares:
                shares.take(result)
    return found


def seconds(rounds: list[CellResult]) -> float:
    return sum(each.seconds for each in rounds)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("slow", [0.01, 0.3, 2.0, 7.0])
def test_a_slow_cell_starves_no_other(slow: float, workers: int) -> None:
    """All have as much time, but for a slice, and for a problem of the slow one that nobody can cut; all have turns."""
    plan = Plan(CELLS, 5, minutes=1.0, workers=workers)
    share, cut = 60 * workers / len(CELLS), slice_of(1.0, workers, len(CELLS))
    found = simulate(plan, slow)
    for cell, rounds in found.items():
        missed = slow if cell == SLOW else slow / (len(CELLS) - 1)
        assert abs(seconds(rounds) - share) < 1.3 * cut + missed, cell
        assert len(rounds) >= SLICES - 1 or cell == SLOW
        assert rounds[0].problems <= ROUNDS[0]
    assert len(found[SLOW]) > 1 or slow > share


def test_by_the_number_of_problems_it_would() -> None:
    """Without shares: of a minute the slow cell has all but a few seconds."""
    found = simulate(Plan(CELLS, 5, minutes=1.0), 2.0, fair=False)
    assert sum(seconds(rounds) for cell, rounds in found.items() if cell != SLOW) < 5


def test_every_cell_is_reached_early_beside_a_slow_backend() -> None:
    """A first round ends with its slice too: of so many cells each of which takes a second a problem."""
    plan = Plan(ALL, 5, minutes=2.0, workers=2)
    first = [task for task, _ in zip(tasks(plan, lambda _: Heard(), shares=shares_of(plan)), range(98), strict=False)]
    tried = [result_of(task, 1.0) for task in first if task.law != FIRST_LOOK]
    assert len({result.cell for result in tried}) == len(ALL)
    assert sum(result.seconds for result in tried) <= 100
    assert {task.examples for task in first} == {0, ROUNDS[0]}


def test_a_turn_has_as_many_problems_as_fit() -> None:
    """By the fastest turn so far, since another may have made a failure small; a few more, so that time ends it."""
    shares = Shares(2.0)
    first = shares.turn(FAST, 0, 10)
    assert first == (10, 2.0)
    shares.take(CellResult(*FAST, problems=10, seconds=0.5))
    assert shares.turn(FAST, 1, 40) == (pytest.approx(1.25 * 20 * 3.5, abs=1), 3.5)
    shares.take(CellResult(*FAST, problems=1, seconds=6.5))
    assert shares.turn(FAST, 2, 100) is None
    assert shares.turn(FAST, 3, 100) == (25, 1.0)


def test_time_that_a_turn_may_use_is_not_given_twice() -> None:
    """Where a second turn begins while the first one lasts."""
    shares = Shares(2.0)
    assert [shares.turn(FAST, round_, 10) for round_ in range(2)] == [(10, 2.0), (10, 2.0)]
    assert shares.turn(FAST, 1, 10) is None


def test_replays_are_no_turns() -> None:
    """What they take is nobody's share."""
    shares = Shares(2.0)
    shares.take(replace(CellResult(*FAST, problems=60, seconds=9.0), law="replay"))
    assert not Counter(shares.used)
    assert not shares.pace


@pytest.mark.parametrize(
    ("minutes", "workers", "number", "wanted"), [(2.0, 2, 100, 0.4), (0.05, 1, 100, 0.1), (60.0, 2, 10, 5.0)]
)
def test_a_slice_is_a_part_of_the_share(minutes: float, workers: int, number: int, wanted: float) -> None:
    """Neither so short that a turn is little else than its start, nor so long that nothing is told for minutes."""
    assert slice_of(minutes, workers, number) == pytest.approx(wanted)
