"""Tasks of a run: the corpus, then rounds of all cells, the first of them small."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest

from properties.laws import LAWS
from properties.run.causes import Heard
from properties.run.cells import cells
from properties.run.plan import ROUNDS, Plan, shares_of, started, tasks
from properties.run.worker import CORPUS, FIRST_LOOK, AtWork, Task
from tests.properties.wrapped import HONEST
from tests.verification.samples import PREFILL
from verification.catalogue import cannot_run
from verification.problem import Numbers
from verification.records.findings import Finding, save

CELLS = cells(["attn_core/eager"], ["cpu"])


def drawn(plan: Plan, broken: frozenset[str] = frozenset()) -> list[Task]:
    """All tasks but the first look at each backend."""
    found = tasks(plan, lambda cell: Heard(ended="it broke" if cell.law.name in broken else ""))
    return [task for task in found if task.law != FIRST_LOOK]


def test_every_cell_is_reached_before_any_is_reached_twice() -> None:
    """By ten problems each."""
    look, *first = islice(tasks(Plan(CELLS, 5), lambda _: Heard()), 1 + len(CELLS))
    assert (look.law, look.source) == (FIRST_LOOK, "attn_core/eager")
    assert [(task.law, task.dtype) for task in first] == [cell.identity[:2] for cell in CELLS]
    assert {(task.examples, task.round_) for task in first} == {(10, 0)}


@pytest.mark.parametrize("examples", [1, 10, 11, 500, 1200])
def test_a_budget_of_problems_is_shared_out(examples: int) -> None:
    """In rounds that grow, each with problems of its own."""
    of_first = [task for task in drawn(Plan(CELLS, 5, examples=examples)) if task.law == CELLS[0].law.name]
    mine = [task for task in of_first if task.dtype == CELLS[0].dtype]
    assert sum(task.examples for task in mine) == examples
    assert [task.round_ for task in mine] == list(range(len(mine)))
    assert all(task.examples == size for task, size in zip(mine[:-1], ROUNDS, strict=False))


def test_a_broken_cell_is_left_alone() -> None:
    """And where all are broken the run is over."""
    plan = Plan(CELLS, 5, examples=10)
    assert "cache_is_exact" not in {task.law for task in drawn(plan, frozenset({"cache_is_exact"}))}
    assert not drawn(plan, frozenset(cell.law.name for cell in CELLS))


def test_the_corpus_comes_first_where_it_has_a_problem(tmp_path: Path) -> None:
    """A problem whose numbers are written down has one dtype, and no cell in the others."""
    save(Finding(PREFILL), tmp_path)
    plan = Plan(CELLS, 5, examples=1, corpus=tmp_path)
    dtypes = dict.fromkeys(cell.dtype for cell in CELLS)
    assert [(task.law, task.dtype) for task in drawn(plan)[:4]] == [(CORPUS, dtype) for dtype in dtypes]
    named = started(plan).cells
    assert named[:4] == tuple((CORPUS, dtype, "cpu", "attn_core/eager") for dtype in dtypes)
    assert named[4:] == tuple(cell.identity for cell in CELLS)
    [path] = tmp_path.iterdir()
    path.unlink()
    written = Numbers("q", (1.0,) * (PREFILL.num_queries * PREFILL.num_heads * PREFILL.head_dim))
    save(Finding(replace(PREFILL, numbers=(written,))), tmp_path)
    assert [task.dtype for task in drawn(plan) if task.law == CORPUS] == [PREFILL.dtype]
    assert len(started(plan).cells) == 1 + len(CELLS)


@pytest.mark.skipif(not cannot_run("cuda"), reason="this machine has a CUDA device")
def test_what_cannot_run_is_not_promised() -> None:
    """It is told of by an event of its own, with its reason."""
    both = cells(["attn_core/eager"])
    assert len(both) > len(CELLS)
    assert started(Plan(both, 5)).cells == tuple(cell.identity for cell in CELLS)


def test_a_process_goes_on_with_cells_whose_problems_it_has() -> None:
    """Where time is the budget. Then it takes a kind of problems that no other process has; each cell has its turn."""
    plan = Plan(CELLS, 5, minutes=1.0)
    given: list[Task] = []

    def at_work() -> AtWork:
        """As of two processes that take turns."""
        return AtWork(given[-2] if len(given) > 1 else None, tuple(given[-1:]))

    for task in islice(tasks(plan, lambda _: Heard(), shares=shares_of(plan), at_work=at_work), 1 + len(CELLS)):
        given.append(task)
    first = [task for task in given if task.law != FIRST_LOOK]
    assert {(task.law, task.dtype) for task in first} == {cell.identity[:2] for cell in CELLS}
    kinds = {(law.kind, dtype) for law in LAWS for dtype in HONEST.contract.dtypes if law.asks(HONEST, dtype)}
    of = {law.name: law.kind for law in LAWS}
    changes = sum(
        (of[a.law], a.dtype) != (of[b.law], b.dtype) for mine in (first[::2], first[1::2]) for a, b in pairwise(mine)
    )
    assert changes <= len(kinds)
