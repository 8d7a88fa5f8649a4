"""Two calls that should give the same, to the bit where the backend claims it and within the bound elsewhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from properties.laws.law import Asked
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.oracle.difference import difference
from verification.oracle.expectation import Expectation
from verification.oracle.judge import Verdict, Violation, format_of, judge_outputs, judge_same_bits, successful_outputs
from verification.problem import Problem
from verification.tensors.inputs import Array, Inputs, make_inputs

Rows = slice | NDArray[np.int64]
ALL = slice(None)
Outputs = dict[str, Array]


def judge_pair(
    backend: Asked,
    inputs: Inputs,
    other: Inputs | Problem | Outputs,
    rows: Rows = ALL,
    other_rows: Rows = ALL,
    what: str = "the other call",
) -> Verdict:
    """Judge ``rows`` of the answer to ``inputs`` against ``other_rows`` of the answer to (or the outputs) ``other``."""
    outputs = successful_outputs(observe(backend, inputs))
    if isinstance(other, Problem):
        other = make_inputs(other)
    others = successful_outputs(observe(backend, other)) if isinstance(other, Inputs) else other
    mixed = {name: output.copy() for name, output in outputs.items()}
    for name, output in mixed.items():
        output[rows] = others[name][other_rows]
    if backend.to_the_bit:
        for name, output in mixed.items():
            judge_same_bits(output, outputs[name], what, inputs.problem.query_lens, name)
        return Verdict()
    expectation = expected_from(backend, inputs)
    judge_outputs(outputs, expectation)
    return judge_outputs(mixed, expectation)


def judge_close(backend: Backend, inputs: Inputs, rows: Array, other: Inputs, other_rows: Array) -> Verdict:
    """Judge whether ``rows`` of one answer and ``other_rows`` of the other differ by no more than both may be off."""
    answer, another = (successful_outputs(observe(backend, x)) for x in (inputs, other))
    expectation = expected_from(backend, inputs)
    of_answer, of_other = expectation.outputs, expected_from(backend, other).outputs
    got = {name: output[rows] for name, output in answer.items()}
    wanted = {name: another[name][other_rows] for name in answer}
    room = {
        name: of_answer[name].bound[rows] + of_other[name].bound[other_rows] for name in answer if name in of_answer
    }
    return judge_differences(got, wanted, expectation, room)


def judge_differences(got: Outputs, wanted: Outputs, expectation: Expectation, room: Outputs) -> Verdict:
    """Judge whether two answers differ by no more than ``room``, in every output that has some."""
    verdicts = (_judge_difference(got[name], wanted[name], expectation, room[name], name) for name in room)
    return max(verdicts, key=lambda verdict: verdict.ratio, default=Verdict())


def _judge_difference(got: Array, wanted: Array, expectation: Expectation, room: Array, name: str) -> Verdict:
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = _distance(got, wanted, format_of(name, expectation).overflow)
        ratio = np.where(apart == 0, 0.0, apart / room)
    ratio = np.where(np.isinf(room), 0.0, np.where(np.isnan(ratio), np.inf, ratio))
    worst = float(ratio.max(initial=0.0))
    if worst > 1.0:
        wrong = ratio > 1
        message = f"{int(wrong.sum())} of {ratio.size} elements differ by more than both may be off, up to {worst:.3g}"
        lengths, index = expectation.query_lens, int(ratio.argmax())
        raise Violation(message, difference(wrong, got, wanted, room, index, lengths, name))
    return Verdict(worst)


def _distance(got: Array, wanted: Array, overflow: float) -> Array:
    """Return 0 for NaN and NaN, NaN for NaN and a number; an infinity stands for what rounds to it."""
    a, b = (np.clip(x.astype(np.float64), -overflow, overflow) for x in (got, wanted))
    return np.where((np.isnan(a) & np.isnan(b)) | (a == b), 0.0, np.abs(a - b))


def rows_of(problem: Problem, i: int) -> slice:
    """Return the rows of sequence ``i``."""
    start = sum(problem.query_lens[:i])
    return slice(start, start + problem.query_lens[i])
