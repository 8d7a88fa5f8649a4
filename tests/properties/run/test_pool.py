"""Workers that are killed, and a session that is: what is lost, what is told, and that nothing is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from properties.run.cells import cells
from properties.run.plan import Plan
from properties.run.pool import Pool
from properties.run.serve import _attempt
from properties.run.session import run
from properties.run.worker import Done, Task
from tests.properties.run.test_session import command, environment
from tests.verification.processes import NEEDS_PROC, in_session, until
from verification.backends.protocol import NotAsked
from verification.records.results import State
from verification.reporting.events import Event, RoundEnded, RunEnded, WorkerLost
from verification.reporting.summary import Summary

LAWS = ("agrees_with_reference", "cache_is_exact", "guards_stay_intact")
ON_LINUX = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="Linux alone ends such a process")]
CELLS = [cell for cell in cells(["attn_core/eager"], ["cpu"]) if cell.law.name in LAWS and cell.dtype == "float16"]


@dataclass
class Killer:
    """Kills the worker when the first round has ended, and keeps what it hears."""

    events: list[Event] = field(default_factory=list)
    killed: int = 0

    def receive(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, RoundEnded) and not self.killed:
            [worker] = multiprocessing.active_children()
            self.killed = worker.pid or 0
            os.kill(self.killed, signal.SIGKILL)


def test_a_worker_that_is_killed_costs_its_round(tmp_path: Path) -> None:
    """The round is tried again, every cell is held, and which worker it was is told."""
    killer = Killer()
    plan = Plan(CELLS, 5, examples=2, findings=tmp_path)
    assert run(plan, [killer]) == 0
    [lost] = (event for event in killer.events if isinstance(event, WorkerLost))
    assert (lost.process, lost.how) == (killer.killed, "died of SIGKILL")
    assert lost.law in LAWS[1:]
    summary = Summary(killer.events)
    assert [result.state for result in summary.results] == [State.HELD] * len(CELLS)
    assert [result.problems for result in summary.results] == [2] * len(CELLS)
    assert isinstance(killer.events[-1], RunEnded)
    assert not multiprocessing.active_children()


def failing(error: BaseException) -> Callable[[Task], Done]:
    def fails(_: Task) -> Done:
        raise error

    return fails


class Unsendable(ValueError):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (MemoryError("no plan"), MemoryError, "no plan"),
        (Unsendable(1, 2), ValueError, "Unsendable: 1 and 2"),
        (SystemExit(3), RuntimeError, "SystemExit: 3"),
        (NotAsked("gone"), NotAsked, "gone"),
    ],
)
def test_the_error_of_a_task_travels(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, kind: type[BaseException], said: str
) -> None:
    """With where it came from, and never one that would end who reads it."""
    monkeypatch.setattr("properties.run.serve.run_task", failing(error))
    found = _attempt(Task("law", "float16", "attn_core/eager", "cpu"))
    assert (type(found), str(found)) == (kind, said)
    assert isinstance(found, NotAsked) or "in fails" in "".join(getattr(found, "__notes__", []))


def test_a_pool_that_nobody_used_ends() -> None:
    """It has no processes, and room for tasks."""
    pool = Pool(2)
    assert pool.has_room
    assert not pool.is_busy
    assert list(pool.wait(0.0)) == []
    pool.end()


@NEEDS_PROC
@pytest.mark.parametrize(
    ("backend", "trusted"), [("SAYS_AND_LOOPS", ()), pytest.param("HOLDS_PYTHON", ("--trusted",), marks=ON_LINUX)]
)
def test_nothing_outlives_a_session_that_is_killed(tmp_path: Path, backend: str, trusted: tuple[str, ...]) -> None:
    """Neither a worker in the middle of a problem, trusted or not, nor a nursery, a keeper or a backend."""
    named = ("--backend", f"tests.verification.crashing:{backend}", "--crash-after", "600", *trusted)
    wanted = command("-k", "agrees_with", "--dtype", "float16", "--device", "cpu", *named)
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    main = subprocess.Popen(wanted, cwd=tmp_path, env=environment(), start_new_session=True, **pipes)  # type: ignore[call-overload]
    try:
        assert main.stderr is not None
        for line in main.stderr:
            if b"asked" in line:
                break
        assert len(in_session(main.pid)) > 2
        main.kill()
        main.wait()
        until(lambda: not in_session(main.pid))
    finally:
        for process in in_session(main.pid):
            os.kill(process, signal.SIGKILL)
        main.kill()
        main.communicate()
