"""The catalogue: complete, short, and in place only while a call runs."""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attn_core import Attention, attention, cache, eager, notices
from tests.verification.samples import DECODE, PREFILL, with_numbers
from verification import faults
from verification.backends.observe import observe
from verification.faults import FAULTS, HONEST_SPLIT_DECODE, Fault
from verification.faults import split_decode as split
from verification.faults.planted import swaps
from verification.oracle.expectation import expect
from verification.oracle.judge import Violation, judge_output, successful_output
from verification.tensors.inputs import make_inputs

LONGEST = 5
EVERY = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


def snapshot() -> list[object]:
    """What a swap may leave behind."""
    owners = (Attention, attention, cache, eager, notices, split)
    return [value for owner in owners for value in vars(owner).values() if callable(value)]


@EVERY
def test_a_fault_is_one_to_five_lines_with_a_sentence(fault: Fault) -> None:
    """Statements, the docstring and the signature not counted."""
    source = textwrap.dedent(inspect.getsource(fault.swaps[-1].function))
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)][2:]
    assert 1 <= len(statements) <= LONGEST, fault.id
    assert fault.sentence.endswith("."), fault.id
    assert fault.citation == "" or "#" in fault.citation or " " in fault.citation


def test_every_function_of_the_families_is_in_the_catalogue() -> None:
    """A fault that nobody hunts proves nothing."""
    planted = 0
    for path in Path(faults.__file__).parent.glob("*.py"):
        planted += path.read_text().count("\n@swaps(")
    assert planted == len(FAULTS) >= 70


@EVERY
def test_a_fault_is_gone_after_the_call(fault: Fault) -> None:
    """Whatever the call did."""
    before = snapshot()
    for problem in (PREFILL, DECODE):
        observe(fault.backend(), make_inputs(problem))
    assert all(a is b for a, b in zip(before, snapshot(), strict=True))


@pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
def test_the_split_decode_is_honest(problem: object) -> None:
    """Within the bound of attn_core's own profile."""
    inputs = make_inputs(problem)  # type: ignore[arg-type]
    judge_output(successful_output(observe(HONEST_SPLIT_DECODE, inputs)), expect(inputs, HONEST_SPLIT_DECODE.precision))


def test_the_split_decode_is_honest_where_log_sum_exps_are_large() -> None:
    """In float64, their own format: shares that are not divided by their sum would be off by ten bounds."""
    one = replace(DECODE, dtype="float64", num_heads=1, head_dim=1, query_lens=(1,), key_lens=(3,), slot_mapping=(0,))
    one = replace(one, block_tables=((2, 0),))
    for score in np.linspace(900, 1000, 40):
        numbers = {"q": [1], "k": [score], "v": [1], "k_cache": [score] * 8, "v_cache": [1] * 8}
        inputs = with_numbers(one, **numbers)
        output = successful_output(observe(HONEST_SPLIT_DECODE, inputs))
        judge_output(output, expect(inputs, HONEST_SPLIT_DECODE.precision))


def test_planting_is_one_function() -> None:
    """And what it is called is its id."""

    @swaps(eager, "attention_scores")
    def scores_upside_down(original, q, k, scale):  # type: ignore[no-untyped-def]
        """Scores change their sign."""
        return -original(q, k, scale)

    assert scores_upside_down.id == "scores-upside-down"
    inputs = make_inputs(PREFILL)
    with pytest.raises(Violation):
        judge_output(
            successful_output(observe(scores_upside_down.backend(), inputs)),
            expect(inputs, scores_upside_down.backend().precision),
        )
