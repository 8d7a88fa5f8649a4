"""Two calls that should give the same: to the bit where it is claimed, within the bound where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from torch import Tensor

from properties.laws.law import Asked
from properties.laws.pairs import judge_pair, rows_of
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import DECODE, PREFILL
from verification.oracle.judge import Violation
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import Tensors

PHASE = "prefill"
CLAIMED, UNCLAIMED = Asked(HONEST, PHASE, to_the_bit=True), Asked(HONEST, PHASE)


def test_rows_of_a_sequence() -> None:
    """By the lengths of those before it."""
    assert [rows_of(PREFILL, i) for i in range(2)] == [slice(0, 3), slice(3, 4)]
    assert [rows_of(DECODE, i) for i in range(2)] == [slice(0, 1), slice(1, 2)]


def answer() -> dict[str, np.ndarray]:
    """The outputs of the honest module for the prefill."""
    tensors = make_inputs(PREFILL)
    found: list[np.ndarray] = []

    def keep(_: Tensors, output: Tensor) -> Tensor:
        found.append(output.numpy().copy().reshape(4, 2, 4))
        return output

    judge_pair(Asked(Wrapped(keep), PHASE, to_the_bit=True), tensors, PREFILL)
    return {"out": found[0]}


@pytest.mark.parametrize("asked", [CLAIMED, UNCLAIMED])
def test_inputs_problems_and_outputs_may_be_compared(asked: Asked) -> None:
    """All three ways to name the other call."""
    inputs = make_inputs(PREFILL)
    for other in (inputs, PREFILL, answer()):
        judge_pair(asked, inputs, other)


def test_claimed_bits() -> None:
    """One unit in the last place is a violation where bits are claimed, and rounding where they are not."""
    inputs, other = make_inputs(PREFILL), answer()
    other["out"].view(np.int16)[0, 0, 0] ^= 1
    with pytest.raises(Violation, match="other bits"):
        judge_pair(CLAIMED, inputs, other, what="nudged")
    other["out"][0, 0, 0] *= np.float16(1.1)
    with pytest.raises(Violation, match="out of bound"):
        judge_pair(UNCLAIMED, inputs, other)


def test_rows_are_compared_with_rows() -> None:
    """Sequence 1 alone is the last row of the batch."""
    inputs, other = make_inputs(PREFILL), answer()["out"]
    judge_pair(CLAIMED, inputs, {"out": other[3:]}, rows_of(PREFILL, 1))
    judge_pair(UNCLAIMED, inputs, {"out": other[3:]}, rows_of(PREFILL, 1))
    with pytest.raises(Violation):
        judge_pair(CLAIMED, inputs, {"out": other[:1]}, rows_of(PREFILL, 1))
