"""Backends that die, hang or write where nobody looks: reported, made small, and the run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from properties.cli import app
from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.laws.law import OutsideLaw
from properties.run.round import MOST_HANGS, Broken, fuzz
from properties.run.worker import failure_of, replay
from tests.properties.run.test_session import command, environment, session
from tests.verification.processes import NEEDS_PROC, in_session, until
from tests.verification.samples import DECODE, one_head
from verification.backends.attn_core import AttnCore
from verification.isolation.isolated import Isolated, open_backend
from verification.oracle.violation import Crash
from verification.problem import Problem
from verification.problem.json_io import to_json
from verification.records.findings import load
from verification.records.results import State
from verification.reporting.lines import read_events
from verification.reporting.summary import Summary

LAW = {law.name: law for law in LAWS}
FEW = ("--seed", "5", "--dtype", "float16", "--device", "cpu", "--examples", "30", "--workers", "1")


def backend(name: str, crash_after: float) -> Isolated:
    found = open_backend(f"tests.verification.crashing:{name}", "cpu", crash_after)
    assert isinstance(found, Isolated)
    return found


# Of a process of its own it says nothing.
IN_PROCESS = "threads_do_not_matter"


@pytest.mark.parametrize("name", [law.name for law in LAWS if law.asks(AttnCore()) and law.name != IN_PROCESS])
def test_every_law_reports_a_death(name: str) -> None:
    """Also those that say nothing of most problems."""
    law, aborts = LAW[name], backend("ABORTS_ALWAYS", 60.0)

    def check(problem: Problem) -> None:
        with suppress(OutsideLaw):
            law.ask(aborts, problem)

    strategy = problems_within(aborts.contract, "float16", law.phases, law.plain, law.bad_input)
    with pytest.raises(Crash, match="the backend died of SIGABRT"):
        try_each(strategy, check, 0, 30)


@pytest.mark.parametrize(
    ("name", "law", "said"),
    [
        ("ABORTS", "agrees_with_reference", "the backend died of SIGABRT"),
        ("ABORTS", "bad_input_is_refused", "the backend died of SIGABRT"),
        (
            "WRITES_OUTSIDE",
            "guards_stay_intact",
            "8 guard bytes written, the first one behind the start of the first tensor",
        ),
    ],
)
def test_a_crash_is_made_small(name: str, law: str, said: str) -> None:
    """To the two sequences that it takes, and no more of anything."""
    result, broken, _ = fuzz(LAW[law], backend(name, 60.0), "float16", 0, examples=50)
    assert broken is not None
    assert result.failure == said
    small = broken.problem
    assert (small.num_sequences, small.num_heads, small.head_dim) == (2, 1, 1)
    assert small.num_tokens <= 2


@pytest.mark.slow
def test_a_hang_is_made_small() -> None:
    """With few looks, each shorter than the time that is given; the last one has all of it, and is what is told."""
    loops = backend("LOOPS", 2.0)
    result, broken, _ = fuzz(LAW["agrees_with_reference"], loops, "float16", 0, examples=50)
    assert broken is not None
    assert result.failure == "the backend did not answer within 2 s"
    assert (broken.problem.head_dim, broken.problem.num_tokens) == (3, 0)
    assert result.seconds - result.found_after < 0.5 * MOST_HANGS + 20
    assert loops.host.patience == 2.0
    failure = failure_of(LAW["agrees_with_reference"], loops, Broken(broken.problem, broken.violation), "it")
    assert failure.any_ == ()


def test_a_hang_is_replayed_once() -> None:
    """Under the other laws it would take as long again."""
    _, failures = replay(DECODE, backend("LOOPS_ALWAYS", 0.5), LAWS)
    assert [failure.finding.message for failure in failures] == ["the backend did not answer within 0.5 s"]


@pytest.mark.parametrize(
    ("name", "laws"),
    [
        ("ABORTS", {"agrees_with_reference", "cache_is_exact"}),
        pytest.param("LOOPS", {"agrees_with_reference", "cache_is_exact"}, marks=pytest.mark.slow),
        pytest.param("WRITES_OUTSIDE", {"guards_stay_intact"}, marks=pytest.mark.slow),
    ],
)
def test_the_run_goes_on(tmp_path: Path, name: str, laws: set[str]) -> None:
    """Every law breaks, by one finding, and the exit code is 1."""
    source = f"tests.verification.crashing:{name}"
    wanted = [part for law in sorted({"cache_is_exact", *laws}) for part in ("-k", law)]
    done = session(tmp_path, *FEW, *wanted, "--crash-after", "1", "--backend", source)
    assert done.returncode == 1, done.stderr
    [finding] = [load(path) for path in (tmp_path / "findings").iterdir()]
    assert (finding.law, finding.backend) == (min(laws), source)
    summary = Summary(read_events(tmp_path / "reports/run.jsonl"))
    assert {result.law for result in summary.results if result.state is State.BROKEN} == laws
    assert summary.endings[0].exit_code == 1
    assert "Traceback" not in done.stderr


def test_a_replay_dies_of_nothing() -> None:
    """It is isolated as a run is."""
    problem, backend = to_json(one_head()), "tests.verification.crashing:ABORTS_ALWAYS"
    done = CliRunner().invoke(app, ["replay", problem, "--backend", backend, "--law", "guards_stay_intact", "--json"])
    assert done.exit_code == 1, done.output
    assert "the backend died of SIGABRT" in done.output


@NEEDS_PROC
def test_ctrl_c_while_a_backend_hangs(tmp_path: Path) -> None:
    """Ends the run, and nothing is left of it."""
    arguments = (*FEW, "--crash-after", "600", "--backend", "tests.verification.crashing:LOOPS_ALWAYS")
    running = subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, start_new_session=True
    )
    # The run, its worker, the tracker of their resources, the keeper, and the backend.
    until(lambda: len(in_session(running.pid)) >= 5)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=20)
    assert running.returncode == 130
    until(lambda: not in_session(running.pid))
