"""Tasks of a worker: a replay of the corpus that has no time for all of it says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from properties.laws import LAWS
from properties.run.causes import Heard
from properties.run.cells import cells
from properties.run.plan import Plan, tasks
from properties.run.worker import CORPUS, Task, replay, run_task
from properties.show.recorded import write_script
from tests.properties.run.test_afresh import ONE_PAGE, TWO_PAGES
from tests.verification.isolated import run_isolated
from tests.verification.many_bugs import Stale
from tests.verification.samples import PREFILL
from verification.catalogue import make_anew
from verification.records.findings import Finding, load, save
from verification.reporting.tally import ended_early


class StaleHere(Stale):
    """One that no other test of this process has called: a worker remembers what it asked of each backend."""


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


def test_a_file_is_named_only_where_it_holds_all_that_broke(tmp_path: Path) -> None:
    """A plan that is stale after the call of another file breaks on neither file alone: a finding of its own is kept,
    which breaks where it is replayed and becomes a script of two calls. So it is with a file in another dtype.
    """
    corpus, source = tmp_path / "corpus", f"{__name__}:{StaleHere.__name__}"
    for law, problem in (("a", ONE_PAGE), ("b", TWO_PAGES)):  # files are asked in the order of their names
        save(Finding(problem, law), corpus)
    failure = run_task(Task(CORPUS, "float16", source, "cpu", corpus=corpus)).failures[0]
    assert (failure.finding.calls, failure.kept) == ((ONE_PAGE, TWO_PAGES), "")
    finding = load(save(failure.finding, tmp_path))
    assert replay(finding.problem, make_anew(source), LAWS[:1], source, finding.before)[1]
    text = write_script(finding, "", make_anew(source))
    assert run_isolated({"it": text}, tmp_path)["it"].error.startswith("AssertionError: token 0")
    own = tmp_path / "own"
    path = save(finding, own)
    failure = run_task(Task(CORPUS, "float16", source, "cpu", corpus=own)).failures[0]
    assert failure.kept == str(path)
    save(Finding(PREFILL), tmp_path / "halves")
    in_others = {
        dtype: run_task(Task(CORPUS, dtype, "mask-one-future", "cpu", corpus=tmp_path / "halves")).failures[0].kept
        for dtype in ("float16", "float32")
    }
    assert [bool(kept) for kept in in_others.values()] == [True, False]


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
