"""A fuzz session as a person runs it: exit codes, reports, digest, budget, Ctrl-C, disks that are full."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from filelock import FileLock

from properties.run.cells import cells
from properties.run.plan import Plan
from properties.run.session import INTERRUPTED, exit_code, run
from tests import warm
from verification.records.findings import load
from verification.records.results import CellResult, State
from verification.reporting.events import Event, RoundEnded
from verification.reporting.files import LOCK
from verification.reporting.headline import duration
from verification.reporting.lines import read_events
from verification.reporting.summary import Summary

ROOT = Path(__file__).parents[3]
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
FEW = ("--examples", "3", "--seed", "5", "--device", "cpu", "--dtype", "float16", "-k", "agrees_with", "-k", "cache_is")
CELL = ("--seed", "5", "--dtype", "float16", "--device", "cpu", "-k", "agrees_with")
ONE_LAW = (*CELL, "--examples", "50")


NO_CORPUS = mkdtemp(prefix="corpus-")


def command(*arguments: str) -> list[str]:
    """A fuzz run with one worker: a second would load torch for a handful of problems."""
    return [sys.executable, "-m", "properties.cli", "fuzz", "--workers", "1", "--corpus", NO_CORPUS, *arguments]


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "ATTN_CHECK_SHAPES": "0",
        "COLUMNS": "160",
        **more,
    }


def session(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run in ``folder``, which gets its findings and reports."""
    _, _, module, *words = command(*arguments)
    return warm.run(module, *words, cwd=folder, env=environment(**more))


def words(output: str) -> str:
    """What was printed, without the breaks of its lines."""
    return " ".join(output.split())


@cache
def passing(workers: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = Path(mkdtemp())
    return session(folder, *FEW, "--workers", workers, "--json", GITHUB_STEP_SUMMARY=str(folder / "step.md")), folder


def test_a_run_that_passes() -> None:
    """Exit code 0, how it goes, a table of laws by dtype, and every report."""
    done, folder = passing("1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"agrees_with_reference.*│.*3 .*│", done.stderr)
    assert re.search(r"started in \d+ s\n", done.stderr)
    assert re.search(r"\[0:\d\d\] 3 problems, \d+/s, 0 findings, 1 of 2 cells reached\n", done.stderr)
    assert "seed 5; 6 problems" in done.stderr
    said = words(done.stderr)
    assert "2 cells: 2 held, 0 broken, 0 say nothing, 0 not reached, 0 not run" in said
    assert re.search(r"No violation in 5 problems; exit code 0; \d+ s, \d+ of them start-up, \d+ problems/s", said)
    reports = folder / "reports"
    assert {path.name for path in reports.iterdir()} == {".lock", "run.jsonl", "junit.xml", "summary.md", "index.html"}
    assert (folder / "step.md").read_text() == (reports / "summary.md").read_text()
    assert (reports / "run.jsonl").read_text() == done.stdout
    summary = Summary(read_events(reports / "run.jsonl"))
    assert (summary.problems, summary.runs[0].seed, summary.endings[0].exit_code) == (6, 5, 0)


def test_equal_seeds_equal_digests() -> None:
    """However many workers share the work."""
    found = [re.findall(r"cpu: digest ([0-9a-f]{16})", passing(workers)[0].stderr) for workers in "12"]
    assert found[0] == found[1] != []


def test_what_lies_outside_a_contract_is_said(tmp_path: Path) -> None:
    """At the start, and in the reports."""
    done = session(tmp_path, *ONE_LAW, "--examples", "1", "--backend", "sdpa/flash", "--backend", "attn_core/eager")
    said = re.findall(r"outside the contract of (.*)", done.stdout)
    assert said == ["sdpa/flash: chunked; NaN and Inf in tensors", "attn_core/eager: chunked"]
    assert "outside the contract of sdpa/flash:" in (tmp_path / "reports" / "index.html").read_text()


@NO_CUDA
def test_a_run_that_verified_nothing_fails(tmp_path: Path) -> None:
    """Every cell is skipped: that is no pass, and where a device is required it is a failure."""
    cells = ("--device", "cuda", "-k", "agrees_with", "--dtype", "float16")
    done = session(tmp_path, *cells)
    assert done.returncode == 3, done.stderr
    assert "1 cell: 0 held, 0 broken, 0 say nothing, 0 not reached, 1 not run (no CUDA device)" in words(done.stdout)
    assert "Nothing was verified; exit code 3" in done.stdout
    assert "violation" not in done.stdout.lower()
    assert session(tmp_path, "--require-cuda", *cells).returncode == 1


def of(*words: str) -> Summary:
    """A run of one cell for each of these states."""
    results = {
        State.HELD: CellResult("held", "float16", "cpu", "x", problems=2, outside=1),
        State.BROKEN: CellResult("broken", "float16", "cpu", "x", problems=2, failure="it broke"),
        State.SAYS_NOTHING: CellResult("silent", "float16", "cpu", "x", problems=2, outside=2),
        State.NOT_REACHED: CellResult("unreached", "float16", "cpu", "x"),
        State.NOT_RUN: CellResult("missing", "float16", "cuda", "x", skipped="no CUDA device"),
    }
    return Summary(RoundEnded(results[State(word)]) for word in words)


HELD, BROKEN, SILENT, UNREACHED, MISSING = State
PARTIAL, REQUIRED = {"partial": True}, {"require_cuda": True}


@pytest.mark.parametrize(
    ("states", "options", "code"),
    [
        ([HELD], {}, 0),
        ([HELD, SILENT], {}, 0),
        ([HELD, SILENT, MISSING], {}, 0),
        ([HELD, MISSING], REQUIRED, 1),
        ([HELD, BROKEN, UNREACHED], PARTIAL, 1),
        ([HELD, UNREACHED], {}, 3),
        ([HELD, UNREACHED], PARTIAL, 0),
        ([SILENT], {}, 3),
        ([SILENT], PARTIAL, 3),
        ([UNREACHED], PARTIAL, 3),
        ([MISSING], PARTIAL, 3),
        ([MISSING], REQUIRED, 1),
        ([], PARTIAL, 3),
    ],
)
def test_exit_codes(states: list[State], options: dict[str, bool], code: int) -> None:
    """0 where all that could run held or says nothing, 1 where a law broke, 3 where something was left unasked; where
    nothing was verified it is never 0.
    """
    plan, summary = Plan([], 0, **options), of(*states)  # type: ignore[arg-type]
    assert exit_code(plan, summary) == code
    assert exit_code(plan, summary, failed=RuntimeError()) == (code or 3)
    assert exit_code(plan, summary, interrupted=True) == (1 if code == 1 else 130)


def test_a_budget_that_ends_too_soon(tmp_path: Path) -> None:
    """The cells that had no turn are named, and the exit code is 3 although that is allowed: nothing was verified."""
    (tmp_path / "adapter.py").write_text(ADAPTER.format(what="import time; time.sleep(600)"))
    done = session(tmp_path, "--minutes", "0.05", "--partial", "--trusted", "--backend", "adapter:Broken", *CELL)
    assert done.returncode == 3, done.stderr
    said = words(done.stdout)
    assert "not reached, since the budget ended first: agrees_with_reference-float16-cpu-attn_core/eager" in said
    assert "1 cell: 0 held, 0 broken, 0 say nothing, 1 not reached, 0 not run" in said
    assert "Nothing was verified; exit code 3; " in said
    assert "no problem finished by then" in said
    assert "violation" not in said.lower()


def test_what_breaks_a_law_is_kept(tmp_path: Path) -> None:
    """As a file that says whose law broke; the report shows it, with the command that replays it."""
    done = session(tmp_path, *ONE_LAW, "--backend", "mask-one-future")
    assert done.returncode == 1, done.stderr
    # Two rounds of a cell may be under way when its law breaks, and end at other problems.
    paths = list((tmp_path / "findings").iterdir())
    path = next(path for path in paths if f"findings/{path.name}" in done.stdout)
    finding = load(path)
    assert (finding.law, finding.backend, finding.device) == ("agrees_with_reference", "mask-one-future", "cpu")
    assert "out of bound" in finding.message
    assert f"attn-verify replay findings/{path.name}" in done.stdout
    assert "BROKEN agrees_with_reference by mask-one-future on cpu, float16: 1 of 1 elements" in done.stdout
    assert "q0   ■·  sees 1 of 2  <- wrong" in done.stdout


@pytest.mark.parametrize("full", ["reports/run.jsonl", pytest.param("findings", marks=pytest.mark.slow)])
def test_a_full_disk_loses_nothing(tmp_path: Path, full: str) -> None:
    """One line says so, and the finding is on the screen."""
    taken = tmp_path / full
    taken.parent.mkdir(exist_ok=True)
    taken.symlink_to("/dev/full")
    done = session(tmp_path, *ONE_LAW, "--backend", "mask-one-future")
    assert done.returncode == 1, done.stderr
    said = {"reports/run.jsonl": "NOT WRITTEN: reports/run.jsonl (No space left", "findings": "NOT KEPT in findings: "}
    assert done.stdout.replace("\n", " ").count(said[full]) >= 1
    assert "got" in done.stdout
    if full == "findings":
        assert '"query_lens": [1], "key_lens": [2]' in " ".join(done.stdout.split())


def test_a_budget_of_minutes_is_kept(tmp_path: Path) -> None:
    """From the first problem to the end, however long the start takes; rounds with fresh problems until then. A backend
    that sleeps in each call has as much of the time as the other. What is told of the time is one and the same
    everywhere.
    """
    (tmp_path / "adapter.py").write_text(SLEEPER)
    backends = ("--trusted", "--backend", "adapter:Broken", "--backend", "attn_core/eager")
    done = session(tmp_path, "--minutes", "0.15", "--device", "cpu", *backends, "-k", "cache_is")
    assert done.returncode == 0, done.stderr
    told = Summary(read_events(tmp_path / "reports/run.jsonl"))
    assert told.runs[0].minutes == 0.15
    assert 0.95 * 9 < told.seconds - told.start_up < 1.05 * 9
    assert all(0.6 * 9 / 8 < result.seconds < 1.4 * 9 / 8 for result in told.results)
    assert f"started in {told.start_up:.0f} s; the 0.15 minutes begin here\n" in done.stdout
    assert f"{told.seconds:.0f} s, {told.start_up:.0f} of them start-up, " in done.stdout
    page = (tmp_path / "reports/index.html").read_text()
    assert f"<dt>wall time</dt><dd>{duration(told.seconds)}</dd>" in page
    assert f"<dt>start-up, of that</dt><dd>{duration(told.start_up)}</dd>" in page
    assert f"started in {told.start_up:.0f} s" in (tmp_path / "reports/summary.md").read_text()


@pytest.mark.parametrize(
    ("backend", "code"), [pytest.param("attn_core/eager", 130, marks=pytest.mark.slow), ("mask-one-future", 1)]
)
def test_ctrl_c_ends_a_run_with_its_report(tmp_path: Path, backend: str, code: int) -> None:
    """Within two seconds; what was found by then counts."""
    arguments = ("--minutes", "5", "--device", "cpu", "--backend", backend)
    running = subprocess.Popen(
        command(*arguments), cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stdout is not None
    for line in running.stdout:
        if "problems/s" in line or re.match(r"\[\d:\d\d\] [1-9]", line):
            break
    _until_found(tmp_path, wanted=code == 1)
    start = time.monotonic()
    os.killpg(running.pid, signal.SIGINT)
    output = running.stdout.read()
    assert running.wait(10) == code
    assert time.monotonic() - start < 2
    assert f", interrupted; exit code {code}; " in words(output)
    assert Summary(read_events(tmp_path / "reports/run.jsonl")).interrupted
    assert (tmp_path / "reports/index.html").stat().st_size > 1000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_is_heard_where_python_drops_it() -> None:
    """As it does in callbacks, of the garbage collector among others."""

    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    class Presses:
        def receive(self, event: Event) -> None:
            if isinstance(event, RoundEnded):
                Dropped()

    chosen = [cell for cell in cells(["attn_core/eager"], ["cpu"]) if cell.law.name == "cache_is_exact"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(Plan(chosen, 5, 300, workers=1), [Presses()]) == INTERRUPTED
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert run(Plan(chosen, 5, 10, workers=1), [Presses()]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def _until_found(folder: Path, wanted: bool) -> None:
    deadline = time.monotonic() + 60
    while wanted and not list(folder.glob("findings/*.json")) and time.monotonic() < deadline:
        time.sleep(0.1)


ADAPTER = """
from verification.backends.attn_core import AttnCore

class Broken(AttnCore):
    def prepare(self, problem):
        {what}
"""
SLEEPER = ADAPTER.format(what="import time; time.sleep(0.2); return super().prepare(problem)") + "    name = 'sleeper'"


@pytest.mark.parametrize(
    ("what", "said"), [("raise MemoryError('no plan')", "no plan"), ("import os; os._exit(9)", "error: ")]
)
def test_a_worker_that_fails_is_no_violation(tmp_path: Path, what: str, said: str) -> None:
    """Neither by an error of its adapter nor, where that is trusted, by its death: what was done so far is reported,
    and the exit code is 3.
    """
    (tmp_path / "adapter.py").write_text(ADAPTER.format(what=what))
    done = session(tmp_path, *ONE_LAW, "--trusted", "--backend", "adapter:Broken")
    assert done.returncode == 3, done.stdout
    assert said in done.stderr
    [ending] = Summary(read_events(tmp_path / "reports/run.jsonl")).endings
    assert ending.exit_code == 3
    assert f"The run died after 0 verified problems: {ending.error}" in words(done.stdout)
    assert "not reached, since the run died first: agrees_with_reference-float16-cpu-attn_core/eager" in done.stdout
    assert "violation" not in done.stdout.lower()


@pytest.mark.slow
def test_a_worker_that_dies_hides_no_violation(tmp_path: Path) -> None:
    """One that was found before: the exit code is its."""
    (tmp_path / "adapter.py").write_text(ADAPTER.format(what="raise MemoryError('no plan')"))
    backends = ("--backend", "mask-one-future", "--backend", "adapter:Broken")
    done = session(tmp_path, *ONE_LAW, "--trusted", "--workers", "1", *backends)
    assert done.returncode == 1, done.stderr
    [ending] = Summary(read_events(tmp_path / "reports/run.jsonl")).endings
    assert (ending.exit_code, ending.error) == (1, "MemoryError: no plan")
    assert "1 law broken; exit code 1" in done.stdout
    assert "the run died: MemoryError: no plan" in done.stdout


def test_reports_that_cannot_be_written(tmp_path: Path) -> None:
    """Nothing is tried where there is nowhere to tell it; and where they are lost later, all is not well."""
    (tmp_path / "taken").write_text("")
    done = session(tmp_path, *FEW, "--reports", "taken")
    assert done.returncode == 2
    assert done.stderr == "error: --reports: taken (File exists)\n"
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/junit.xml").symlink_to("/dev/full")
    done = session(tmp_path, *FEW)
    assert done.returncode == 3, done.stderr
    assert "NOT WRITTEN: reports/junit.xml (No space left on device)" in done.stdout


def test_a_folder_of_reports_is_of_one_run(tmp_path: Path) -> None:
    """The second is refused in a line, and does not touch what the first writes."""
    (tmp_path / "reports").mkdir()
    with FileLock(tmp_path / "reports" / LOCK):
        done = session(tmp_path, *FEW)
    assert done.returncode == 2
    assert done.stderr == "error: --reports: reports (another run is writing there; name another folder)\n"
    assert [path.name for path in (tmp_path / "reports").iterdir()] == [LOCK]
