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

from verification.records.findings import load
from verification.reporting.events import read_events
from verification.reporting.summary import Summary

ROOT = Path(__file__).parents[3]
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
FEW = ("--examples", "3", "--seed", "5", "--device", "cpu", "--dtype", "float16", "-k", "agrees_with", "-k", "cache_is")
ONE_LAW = ("--seed", "5", "--dtype", "float16", "--device", "cpu", "-k", "agrees_with")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "properties.cli", "fuzz", "--corpus", "none", *arguments]


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
    wanted = command(*arguments)
    return subprocess.run(wanted, cwd=folder, env=environment(**more), capture_output=True, text=True, check=False)


@cache
def passing(workers: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = Path(mkdtemp())
    return session(folder, *FEW, "--workers", workers, "--json", GITHUB_STEP_SUMMARY=str(folder / "step.md")), folder


def test_a_run_that_passes() -> None:
    """Exit code 0, how it goes, a table of laws by dtype, and every report."""
    done, folder = passing("1")
    assert done.returncode == 0, done.stderr
    assert re.search(r"agrees_with_reference.*│.*3 .*│", done.stderr)
    assert re.search(r"\[0:\d\d\] 3 problems, \d/s, 0 findings, \d:\d\d left", done.stderr)
    assert "seed 5; 6 problems" in done.stderr
    assert "no violation" in done.stderr
    reports = folder / "reports"
    assert {path.name for path in reports.iterdir()} == {"run.jsonl", "junit.xml", "summary.md", "index.html"}
    assert (folder / "step.md").read_text() == (reports / "summary.md").read_text()
    assert (reports / "run.jsonl").read_text() == done.stdout
    summary = Summary(read_events(reports / "run.jsonl"))
    assert (summary.problems, summary.runs[0].seed, summary.endings[0].exit_code) == (6, 5, 0)


def test_equal_seeds_equal_digests() -> None:
    """However many workers share the work."""
    found = [re.findall(r"cpu: 2 cells, digest ([0-9a-f]{16})", passing(workers)[0].stderr) for workers in "12"]
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
    assert "cuda: 1 cells NOT RUN (no CUDA device)" in done.stdout
    assert session(tmp_path, "--require-cuda", *cells).returncode == 1


def test_what_breaks_a_law_is_kept(tmp_path: Path) -> None:
    """As a file that says whose law broke; the report shows it, with the command that replays it."""
    done = session(tmp_path, *ONE_LAW, "--backend", "mask-one-future")
    assert done.returncode == 1, done.stderr
    [path] = (tmp_path / "findings").iterdir()
    finding = load(path)
    assert (finding.law, finding.backend, finding.device) == ("agrees_with_reference", "mask-one-future", "cpu")
    assert "out of bound" in finding.message
    assert f"attn-verify replay findings/{path.name}" in done.stdout
    assert "BROKEN agrees_with_reference by mask-one-future on cpu, float16: 1 of 1 elements" in done.stdout
    assert "q0   ■·  sees 1 of 2  <- wrong" in done.stdout


@pytest.mark.parametrize("full", ["reports/run.jsonl", "findings"])
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
    """From start to end, loading and reports included; rounds with fresh problems until then."""
    start = time.monotonic()
    done = session(tmp_path, "--minutes", "0.4", "--device", "cpu", "-k", "cache_is")
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    assert 0.9 * 24 < seconds < 1.1 * 24
    [started, *_] = read_events(tmp_path / "reports/run.jsonl")
    assert started.minutes == 0.4  # type: ignore[union-attr]


@pytest.mark.parametrize(("backend", "code"), [("attn_core/eager", 130), ("mask-one-future", 1)])
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
    assert "INTERRUPTED" in output
    assert Summary(read_events(tmp_path / "reports/run.jsonl")).interrupted
    assert (tmp_path / "reports/index.html").stat().st_size > 1000


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


@pytest.mark.parametrize(
    ("what", "said"), [("raise MemoryError('no plan')", "no plan"), ("import os; os._exit(9)", "error: ")]
)
def test_a_worker_that_fails_is_no_violation(tmp_path: Path, what: str, said: str) -> None:
    """Neither by an error of its adapter nor, where that is trusted, by its death: what was done so far is reported,
    and the exit code is 3.
    """
    (tmp_path / "adapter.py").write_text(ADAPTER.format(what=what))
    done = session(tmp_path, *ONE_LAW, "--examples", "5", "--trusted", "--backend", "adapter:Broken")
    assert done.returncode == 3, done.stdout
    assert said in done.stderr
    assert Summary(read_events(tmp_path / "reports/run.jsonl")).endings[0].exit_code == 3
