"""The laws as tests of somebody else's: ``pytest --pyargs properties --backend ...``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In the folder of the tutorial, with the project on the path."""
    command = (sys.executable, "-m", "pytest", "-p", "properties.plugin", "-p", "no:cacheprovider", "-q", *arguments)
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'docs' / 'tutorial'}", "PATH": "", "ATTN_CHECK_SHAPES": "0"}
    return subprocess.run(command, cwd=ROOT / "docs" / "tutorial", env=environment, capture_output=True, text=True)


def test_a_broken_law_fails_its_test() -> None:
    """With the violation, the problem in words, and the command that replays it; the others pass."""
    asked = ("--backend", "my_kernel:MyKernel", "--backend-dtype", "float16", "-k", "agrees_with_ or cache_is")
    came = run("--pyargs", "properties", *asked, "--problems", "40", "--problem-seed", "1")
    assert came.returncode == 1, came.stdout + came.stderr
    assert "1 failed, 1 passed" in came.stdout
    assert "out of bound" in came.stdout
    assert "attn-verify replay --backend my_kernel:MyKernel '{" in came.stdout


@pytest.mark.parametrize("name", ["nobody", "my_kernel:Nobody"])
def test_an_unknown_backend_is_a_line(name: str) -> None:
    """No traceback."""
    came = run("--pyargs", "properties", "--backend", name)
    assert came.returncode == 2
    assert f"backend: '{name}'" in came.stderr + came.stdout
    assert "Traceback" not in came.stderr + came.stdout
