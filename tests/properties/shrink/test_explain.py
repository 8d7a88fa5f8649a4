"""What matters of a failing problem, and what may be anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from properties.generate.profile import try_each
from properties.generate.strategies import problems
from properties.laws import LAWS
from properties.laws.law import Law
from properties.run.round import fuzz
from properties.shrink.explain import find_indifferent, read_lines_run
from tests.verification.samples import DECODE, PREFILL
from verification.backends.attn_core import AttnCore
from verification.backends.protocol import Backend
from verification.faults import FAULTS
from verification.oracle import judge
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem

DTYPES = ("float16", "bfloat16", "float32", "float64")


def test_what_may_be_anything() -> None:
    """All other choices break it too; what decides is not named, nor what the problem does not have."""
    assert set(find_indifferent(DECODE, DTYPES, lambda _: True)) == {
        *("dtype", "score fill", "value fill", "poison", "cache layout", "layout", "index dtype"),
    }
    assert find_indifferent(DECODE, DTYPES, lambda _: False) == ()
    assert "dtype" not in find_indifferent(DECODE, DTYPES, lambda problem: problem.dtype != "float64")
    assert "score fill" in find_indifferent(DECODE, DTYPES, lambda problem: problem.dtype != "float64")
    assert "causal alignment" in find_indifferent(PREFILL, DTYPES, lambda _: True)
    assert "dtype" not in find_indifferent(DECODE, ("float16",), lambda _: True)


def test_problems_that_are_none_are_not_asked() -> None:
    """Indices beyond 32 bits have one dtype."""
    wide = Problem("decode", "float16", 1, 1, 1, (1,), (1,), 1, 2, (2**40,), ((1,),))
    assert "index dtype" not in find_indifferent(wide, DTYPES, lambda _: True)


def branches(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    """Short batches."""
    if len(problem.key_lens) > 1:
        long = "this line runs when the law breaks, and never else"
        raise Violation(long)
    return Verdict()


def test_hypothesis_names_the_lines_that_run() -> None:
    """Those of what is under test; not those of the harness, which compare."""
    _, broken, _ = fuzz(Law(branches), AttnCore(), "float16", 5, 200)
    assert broken is not None
    source = Path(__file__).read_text().splitlines()
    assert broken.lines
    for line in broken.lines:
        path, number = line.rsplit(":", 1)
        assert path == str(Path("tests/properties/shrink/test_explain.py"))
        assert "long" in source[int(number) - 1]


@pytest.mark.parametrize("fault", ["mask-one-future", "table-slides"])
def test_lines_of_the_harness_are_noise(fault: str) -> None:
    """A mask that is always wrong has no line of its own."""

    def check(problem: Problem) -> None:
        LAWS[0].ask(FAULTS[fault].backend(), problem)

    with pytest.raises(Violation) as caught:
        try_each(problems("float16"), check, 1, 200, shrink=True)
    assert not [line for line in read_lines_run(caught.value) if "judge" in line or "numpy" in line]
    # Which lines Hypothesis names depends on what had run before in this process: these it named once.
    for line in (judge.__file__, np.__file__):
        caught.value.add_note(f"        {line}:26")
    assert not [line for line in read_lines_run(caught.value) if "judge" in line or "numpy" in line]
    assert read_lines_run(ValueError("no notes")) == ()


def test_what_runs_when_garbage_is_collected_is_noise() -> None:
    """It says nothing of when the law broke."""
    violation = Violation("it")
    violation.add_note("        /lib/site-packages/jax/_src/lib/__init__.py:131")
    violation.add_note("        /lib/site-packages/jax/_src/nn/functions.py:7")
    assert read_lines_run(violation) == ("/lib/site-packages/jax/_src/nn/functions.py:7",)
