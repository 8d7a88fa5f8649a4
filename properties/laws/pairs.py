"""Two calls that should give the same, to the bit where the backend claims it and within the bound elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from properties.law import Asked
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.oracle.difference import difference
from verification.oracle.expectation import Expectation
from verification.oracle.judge import Verdict, Violation, judge_output, judge_same_bits, successful_output
from verification.problem import Problem
from verification.tensors.inputs import Array, Inputs, make_inputs

Rows = slice | NDArray[np.int64]
ALL = slice(None)


def judge_pair(
    backend: Asked,
    inputs: Inputs,
    other: Inputs | Problem | NDArray[Any],
    rows: Rows = ALL,
    other_rows: Rows = ALL,
    what: str = "the other call",
) -> Verdict:
    """Judge ``rows`` of the answer to ``inputs`` against ``other_rows`` of the answer to (or the output) ``other``."""
    output = successful_output(observe(backend, inputs))
    if isinstance(other, Problem):
        other = make_inputs(other)
    if isinstance(other, Inputs):
        other = successful_output(observe(backend, other))
    full = output.copy()
    full[rows] = other[other_rows]
    if backend.to_the_bit:
        judge_same_bits(full, output, what, inputs.problem.query_lens)
        return Verdict()
    expectation = expected_from(backend, inputs)
    judge_output(output, expectation)
    return judge_output(full, expectation)


def judge_close(backend: Backend, inputs: Inputs, rows: Array, other: Inputs, other_rows: Array) -> Verdict:
    """Judge whether ``rows`` of one answer and ``other_rows`` of the other differ by no more than both may be off."""
    answer, another = (successful_output(observe(backend, x)) for x in (inputs, other))
    expectation = expected_from(backend, inputs)
    room = expectation.bound[rows] + expected_from(backend, other).bound[other_rows]
    return judge_difference(answer[rows], another[other_rows], expectation, room)


def judge_difference(got: Array, wanted: Array, expectation: Expectation, room: Array) -> Verdict:
    """Judge whether two answers differ by no more than ``room``, element by element."""
    with np.errstate(invalid="ignore", divide="ignore"):
        limit = expectation.roundings.output.overflow
        apart = _distance(got, wanted, limit)
        ratio = np.where(apart == 0, 0.0, apart / room)
    ratio = np.where(np.isinf(room), 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    worst = float(ratio.max(initial=0.0))
    if worst > 1.0:
        wrong = ratio > 1
        message = f"{int(wrong.sum())} of {ratio.size} elements differ by more than both may be off, up to {worst:.3g}"
        lengths, index = expectation.query_lens, int(ratio.argmax())
        raise Violation(message, difference(wrong, got, wanted, room, index, lengths))
    return Verdict(worst)


def _distance(got: Array, wanted: Array, overflow: float) -> Array:
    """Return 0 for NaN and NaN, NaN for NaN and a number; an infinity stands for what rounds to it."""
    a, b = (np.clip(x.astype(np.float64), -overflow, overflow) for x in (got, wanted))
    return np.where((np.isnan(a) & np.isnan(b)) | (a == b), 0.0, np.abs(a - b))


def rows_of(problem: Problem, i: int) -> slice:
    """Return the rows of sequence ``i``."""
    start = sum(problem.query_lens[:i])
    return slice(start, start + problem.query_lens[i])
