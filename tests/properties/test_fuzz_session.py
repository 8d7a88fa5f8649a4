"""A fuzz session as a person runs it: exit codes, table, digest, replay."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.verification.samples import DECODE
from verification.findings import load
from verification.json_io import to_json

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
FEW = ("--examples", "3", "-k", "cpu and float16 and (agrees_with_reference or cache_is_exact)")


@cache
def session(*arguments: str, run: int = 0, planted: str = "") -> subprocess.CompletedProcess[str]:
    """``python -m pytest tests/fuzz ...``; ``run`` tells repetitions apart, ``planted`` is a fault in the layer."""
    plugin = ("-p", "tests.properties.plant") if planted else ()
    command = [sys.executable, "-m", "pytest", "tests/fuzz", *plugin, *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**inherited, "ATTN_CHECK_SHAPES": "0", "OMP_NUM_THREADS": "1", "COLUMNS": "160", "PLANTED": planted}
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


def test_what_breaks_a_law_is_kept_and_replayed(tmp_path: Path) -> None:
    """As a file that breaks the law again, and holds once the bug is mended."""
    law = ("--dtype", "float16", "--device", "cpu", "-k", "agrees_with_reference")
    done = session("--findings", str(tmp_path), "--seed", "5", *law, planted="mask-one-future")
    assert done.returncode == 1
    [path] = tmp_path.iterdir()
    assert f"Kept in {path}" in done.stdout
    finding = load(path)
    assert (finding.law, finding.backend, finding.device) == ("agrees_with_reference", "attn_core/eager", "cpu")
    assert "out of bound" in finding.message
    replay = ("--findings", str(tmp_path / "again"), "--problem", str(path), *law)
    assert session(*replay, planted="mask-one-future").returncode == 1
    assert session(*replay).returncode == 0


def test_what_cannot_be_kept_is_printed(tmp_path: Path) -> None:
    """The folder is a file: one line says so, and the problem stands above it."""
    taken = tmp_path / "taken"
    taken.write_text("")
    law = ("--dtype", "float16", "--device", "cpu", "-k", "agrees_with_reference")
    done = session("--findings", str(taken), "--seed", "5", *law, planted="mask-one-future")
    assert done.returncode == 1
    assert f"NOT KEPT in {taken}" in done.stdout
    assert '"phase": "prefill"' in done.stdout


def test_the_corpus_names_the_file_that_breaks() -> None:
    """In every dtype, whatever the law is called by now; the honest layer passes all of it."""
    assert session("-k", "corpus and cpu").returncode == 0
    done = session("-k", "corpus and cpu", "--dtype", "bfloat16", planted="table-slides")
    assert done.returncode == 1
    assert "corpus/table-slides.json: " in done.stdout
