"""Two calls that should give the same, to the bit where the backend claims it and within the bound elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.oracle.judge import Verdict, judge_output, judge_same_bits, successful_output
from verification.problem import Problem
from verification.tensors.inputs import Inputs, make_inputs

Rows = slice | NDArray[np.int64]
ALL = slice(None)


def judge_pair(
    backend: Backend,
    law: str,
    inputs: Inputs,
    other: Inputs | Problem | NDArray[Any],
    rows: Rows = ALL,
    other_rows: Rows = ALL,
    what: str = "the other call",
) -> Verdict:
    """``rows`` of the answer to ``inputs`` against ``other_rows`` of the answer to (or the output) ``other``."""
    output = successful_output(observe(backend, inputs))
    if isinstance(other, Problem):
        other = make_inputs(other)
    if isinstance(other, Inputs):
        other = successful_output(observe(backend, other))
    full = output.copy()
    full[rows] = other[other_rows]
    if law in backend.contract.bitwise:
        judge_same_bits(full, output, what, inputs.problem.query_lens)
        return Verdict()
    expectation = expected_from(backend, inputs)
    judge_output(output, expectation)
    return judge_output(full, expectation)


def rows_of(problem: Problem, i: int) -> slice:
    """The rows of sequence ``i``."""
    start = sum(problem.query_lens[:i])
    return slice(start, start + problem.query_lens[i])
