"""Tasks of a worker: a replay of the corpus that has no time for all of it says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from properties.run.causes import Heard
from properties.run.cells import cells
from properties.run.plan import Plan, tasks
from properties.run.worker import CORPUS, Task, run_task
from tests.verification.samples import PREFILL
from verification.records.findings import Finding, save
from verification.reporting.tally import ended_early


def test_a_replay_ends_where_its_time_is_over(tmp_path: Path) -> None:
    """After its first problem at the earliest; the report says how many files are left."""
    for seed in range(3):
        save(Finding(replace(PREFILL, seed=seed)), tmp_path)
    task = Task(CORPUS, "float32", "attn_core/eager", "cpu", corpus=tmp_path)
    whole, cut = run_task(task).result, run_task(replace(task, seconds=0.0)).result
    assert (whole.problems, whole.ended, ended_early([whole])) == (3, "", {})
    assert cut.problems == 1
    [said] = ended_early([cut])
    assert said.startswith("held, and asked no further, since its time was over before 2 files of ")


def test_a_quarter_of_a_budget_of_minutes_is_for_replays(tmp_path: Path) -> None:
    """Shared by all of them; where problems are the budget there is no limit."""
    save(Finding(PREFILL), tmp_path)
    mine = cells(["attn_core/eager"], ["cpu"])
    dtypes = dict.fromkeys(cell.dtype for cell in mine)
    for plan, seconds in (
        (Plan(mine, 5, minutes=2.0, workers=3, corpus=tmp_path), 2.0 * 60 * 3 / 4 / len(dtypes)),
        (Plan(mine, 5, examples=1, corpus=tmp_path), None),
    ):
        made = zip(tasks(plan, lambda _: Heard()), range(8), strict=False)
        assert [task.seconds for task, _ in made if task.law == CORPUS] == [seconds] * len(dtypes)
