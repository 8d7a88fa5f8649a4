"""A fuzz session as a person runs it: exit codes, table, digest, replay."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache

import pytest
import torch

from tests.verification.samples import DECODE
from verification.json_io import to_json

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
FEW = ("--examples", "3", "-k", "cpu and float16 and (agrees_with_reference or cache_is_exact)")


@cache
def session(*arguments: str, run: int = 0) -> subprocess.CompletedProcess[str]:
    """``python -m pytest tests/fuzz ...``; ``run`` tells repetitions apart."""
    command = [sys.executable, "-m", "pytest", "tests/fuzz", *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**inherited, "ATTN_CHECK_SHAPES": "0", "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
    assert run >= 0
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def digest(output: str) -> str:
    """Of all problems tried on the CPU."""
    [found] = re.findall(r"cpu: \d+ cells, digest ([0-9a-f]{16})", output)
    return str(found)


def test_a_run_that_passes() -> None:
    """Exit code 0, a line a cell, and a table of laws by dtype."""
    done = session("--seed", "5", *FEW)
    assert done.returncode == 0, done.stdout
    assert re.search(r"agrees_with_reference.*│.*3 .*│", done.stdout)
    assert re.search(r"cache_is_exact +float16 +cpu +attn_core/eager +3 problems", done.stdout)
    assert "no violation" in done.stdout


def test_equal_seeds_equal_digests() -> None:
    """And another seed, another digest; the seed is printed."""
    first, again, other = (
        session("--seed", "5", *FEW),
        session("--seed", "5", *FEW, run=1),
        session("--seed", "6", *FEW),
    )
    assert digest(first.stdout) == digest(again.stdout) != digest(other.stdout)
    assert "seed 5" in first.stdout
    assert "seed 6" in other.stdout


@NO_CUDA
def test_a_run_that_verified_nothing_fails() -> None:
    """Every cell is skipped: that is no pass."""
    done = session("-k", "cuda and agrees_with_reference")
    assert done.returncode != 0
    assert "NOT RUN (no CUDA device)" in done.stdout


@NO_CUDA
def test_cuda_can_be_required() -> None:
    """Its absence is a failure then."""
    done = session("--require-cuda", "-k", "cuda and agrees_with_reference and float16")
    assert done.returncode == 1
    assert "no CUDA device" in done.stdout


def test_a_problem_is_replayed() -> None:
    """One problem, in the cells of its dtype."""
    done = session("--problem", to_json(DECODE), "-k", "cpu and agrees_with_reference")
    assert done.returncode == 0, done.stdout
    assert re.search(r"agrees_with_reference +float16 +cpu +attn_core/eager +1 problems", done.stdout)
    assert "1 problems, 0 of them outside their law" in done.stdout


def test_a_hostile_problem_is_no_pass() -> None:
    """The error names the field."""
    done = session("--problem", to_json(DECODE).replace('"decode"', '"encode"'), "-k", "cpu and agrees_with_reference")
    assert done.returncode != 0
    assert "phase: 'encode'" in done.stdout
