"""Workers on several CUDA devices: who has which, and what a lost one costs. A session itself calls CUDA nowhere."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from properties.cli import app
from properties.run.cells import cells
from properties.run.plan import Plan
from properties.run.pool import Death, Pool
from properties.run.session import _start_method, run
from properties.run.worker import FIRST_LOOK, Done, Task, _Ready, _Stop, run_task
from tests.verification.cuda import stand_in
from verification.backends.devices import VISIBLE
from verification.records.coverage import Coverage
from verification.records.results import CellResult
from verification.reporting.lines import read_events
from verification.reporting.summary import Summary

ON_CUDA = Task("law", "float16", "attn_core/eager", "cuda")
LAWS = ("agrees_with_reference", "cache_is_exact")


def answer(task: Task) -> Done:
    """Instead of a round: which process answers, and which device it has."""
    said = f"{os.getpid()} {os.environ.get(VISIBLE)}"
    problems = int(task.law != FIRST_LOOK)
    result = CellResult(task.law, task.dtype, task.device, task.source, problems, reasons={said: problems})
    return Done(result, (), Coverage.of([]))


def fail(_: Task) -> Done:
    raise RuntimeError("CUDA error: misaligned address")


def who(outcome: Done | Death) -> tuple[int, str]:
    """Process and device of an outcome."""
    assert isinstance(outcome, Done)
    [said] = outcome.result.reasons
    process, selector = said.split()
    return int(process), selector


@contextmanager
def pool_of(count: int, selectors: tuple[str, ...]) -> Iterator[Pool]:
    pool = Pool(count, "fork", selectors)
    try:
        yield pool
    finally:
        pool.end()


def outcomes(pool: Pool, tasks: int) -> list[Done | Death]:
    """Give as many tasks at once as there are workers, and wait for all of them."""
    for _ in range(tasks):
        pool.give(ON_CUDA)
    found: list[Done | Death] = []
    while pool.is_busy:
        found += [outcome for _, outcome in pool.wait(10)]
    return found


def test_workers_share_the_devices_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has one, whatever it does next; one that ends leaves its device to the next."""
    monkeypatch.setattr("properties.run.serve.run_task", answer)
    with pool_of(5, ("GPU-a", "GPU-b")) as pool:
        first = dict(who(outcome) for outcome in outcomes(pool, 5))
        assert Counter(first.values()) == {"GPU-a": 3, "GPU-b": 2}
        assert dict(who(outcome) for outcome in outcomes(pool, 5)) == first
        pool._let_go(pool._workers[1])
        again = dict(who(outcome) for outcome in outcomes(pool, 5))
        assert Counter(again.values()) == {"GPU-a": 3, "GPU-b": 2}
        assert len(first.keys() & again.keys()) == 4
    assert VISIBLE not in os.environ or os.environ[VISIBLE] not in ("GPU-a", "GPU-b")


def test_of_one_device_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person has set stays."""
    monkeypatch.setattr("properties.run.serve.run_task", answer)
    monkeypatch.setenv(VISIBLE, "GPU-mine")
    with pool_of(1, ()) as pool:
        [outcome] = outcomes(pool, 1)
    assert who(outcome)[1] == "GPU-mine"


def lose_device(monkeypatch: pytest.MonkeyPatch, *losing: str) -> None:
    """Let workers lose these devices by their first task."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(
        "properties.run.serve.tell_lost", lambda _: "CUDA error" if os.environ[VISIBLE] in losing else ""
    )


def test_a_lost_device_costs_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it found by then counts, and a fresh process has the next task."""
    monkeypatch.setattr("properties.run.serve.run_task", answer)
    lose_device(monkeypatch, "1")
    with pool_of(2, ("0", "1")) as pool:
        (kept, _), (lost, _) = sorted(map(who, outcomes(pool, 2)), key=lambda found: found[1])
        assert [worker.process.pid for worker in pool._workers] == [kept]
        again = dict(who(outcome) for outcome in outcomes(pool, 2))
    assert again.pop(kept) == "0"
    assert list(again.values()) == ["1"]
    assert lost not in again


def test_an_error_of_a_lost_device_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is lost with the worker, as where it dies; any other error of a task ends the run."""
    monkeypatch.setattr("properties.run.serve.run_task", fail)
    lose_device(monkeypatch, "1")
    with pool_of(1, ("1",)) as pool:
        [outcome] = outcomes(pool, 1)
        assert isinstance(outcome, Death)
        assert outcome.how == "lost its device: CUDA error"
        assert not pool._workers
    with pool_of(1, ("0",)) as pool, pytest.raises(RuntimeError, match="misaligned"):
        outcomes(pool, 1)


def test_a_device_is_awake_before_the_first_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Waking it is part of the start, not of the budget."""
    called = stand_in(monkeypatch, tmp_path / "calls", ("Card",))
    ready, stop, was_awake = Event(), Event(), []

    def set_ready() -> None:
        was_awake.append(called() == {os.getpid()})

    monkeypatch.setattr(ready, "set", set_ready)
    monkeypatch.setattr(_Ready, "event", ready)
    monkeypatch.setattr(_Stop, "event", stop)
    stop.set()
    run_task(replace(ON_CUDA, law=FIRST_LOOK))
    assert was_awake == [True]


def test_a_session_calls_cuda_nowhere_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the options to the reports: its child asks for the devices, and its workers, which are forked, share out
    those that a person lets us have.
    """
    called = stand_in(monkeypatch, tmp_path / "calls", ("Card", "Card", "Card"))
    monkeypatch.setenv(VISIBLE, "2,0")
    monkeypatch.setattr("properties.run.serve.run_task", answer)
    began: list[tuple[Any, ...]] = []

    class Watched(Pool):
        def __init__(self, *arguments: Any) -> None:
            began.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr("properties.run.session.Pool", Watched)
    (tmp_path / "corpus").mkdir()
    cell = ["--device", "cuda", "--dtype", "float16", "-k", "cache_is", "--examples", "1", "--workers", "2"]
    folders = [f"--{name}={tmp_path / name}" for name in ("findings", "corpus", "reports")]
    assert app(["fuzz", *cell, *folders, "--require-cuda"], standalone_mode=False) == 0
    assert began == [(2, "fork", ["2", "0"])]
    assert len(called() - {os.getpid()}) == 1
    assert os.getpid() not in called()
    told = Summary(read_events(tmp_path / "reports" / "run.jsonl"))
    assert told.runs[0].machine["device"] == "2 x Card (2, 0)"
    assert [who(Done(result, (), Coverage.of([])))[1] in ("2", "0") for result in told.results] == [True]


@pytest.mark.parametrize(
    ("touched", "device", "method"), [(True, "cuda", "spawn"), (False, "cuda", "fork"), (True, "cpu", "fork")]
)
def test_a_process_that_has_called_cuda_forks_no_workers_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, touched: bool, device: str, method: str
) -> None:
    """They could not call it."""
    stand_in(monkeypatch, tmp_path / "calls", ("Card",))
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: touched)
    assert _start_method(Plan(cells(["attn_core/eager"], [device]), 5, crash_after=30.0)) == method


def test_digests_do_not_depend_on_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nor on how many workers have them."""
    mine = [cell for cell in cells(["attn_core/eager"], ["cpu"]) if cell.law.name in LAWS and cell.dtype == "float16"]
    digests = []
    for workers, selectors in ((1, []), (2, ["0", "1"])):
        monkeypatch.setattr("properties.run.session._selectors", lambda _, chosen=selectors: chosen)
        summary = Summary()
        assert run(Plan(mine, 5, examples=12, workers=workers, findings=tmp_path), [summary]) == 0
        digests.append([result.digest for result in summary.results])
    assert digests[0] == digests[1] != [0, 0]
