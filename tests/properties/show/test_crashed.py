"""What ends a backend's process becomes a script that ends its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from properties.show.recorded import write_script
from tests.properties.show.test_adapted import CHUNK
from verification.backends.protocol import Backend
from verification.backends.snippet import ScriptError
from verification.isolation.isolated import open_backend
from verification.problem import Problem

TWO = replace(CHUNK, query_lens=(1, 1), key_lens=(1, 1), block_tables=((1,), (2,)))
SQUARE = Problem("prefill", "float32", 1, 1, 16, (2,), (2,), value_fill="index")


def dying(name: str) -> Backend:
    """With patience for all but the one that needs it to run out."""
    return open_backend(f"tests.verification.dying_kernel:{name}", "cpu", 1.0 if name == "Waits" else 60.0)


@pytest.mark.parametrize(
    ("name", "problem", "said"),
    [
        ("DiesOfTwo", TWO, "the backend died of SIGABRT"),
        pytest.param("DiesOfSquares", SQUARE, "the backend ended its process with exit code 7", marks=pytest.mark.slow),
        pytest.param("Waits", SQUARE, "the backend did not answer within 1 s", marks=pytest.mark.slow),
    ],
)
def test_it_dies_alone(name: str, problem: Problem, said: str, tmp_path: Path) -> None:
    """Of the last call that was made, in a process that has nothing of ours."""
    text = write_script(problem, "agrees_with_reference", dying(name))
    assert said in text
    assert "verification" not in text.partition("import numpy")[2]
    path = tmp_path / "it.py"
    path.write_text(text)
    with subprocess.Popen([sys.executable, "-I", path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        try:
            assert process.wait(2) not in (0, 1)
        except subprocess.TimeoutExpired:
            assert name == "Waits"
            process.kill()


def test_what_a_call_alone_does_not_show_is_said() -> None:
    """As the second of two."""
    with pytest.raises(ScriptError, match="the last call, made alone, comes back"):
        write_script(CHUNK, "same_call_same_bits", dying("DiesLater"))
