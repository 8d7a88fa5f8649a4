"""The judge: returns a verdict, or raises a violation that says where an answer is wrong, and by how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.oracle.difference import difference
from verification.oracle.expectation import Expectation
from verification.oracle.frames import name_error, own_frames
from verification.oracle.predicted_events import Prediction
from verification.oracle.violation import BadOutput
from verification.oracle.violation import Violation as Violation  # handed on to those who call the judge
from verification.problem.formats import FORMATS, Format
from verification.problem.table import OUTPUTS
from verification.tensors.arena import Bytes, Span
from verification.tensors.observation import Event, Observation

Array = NDArray[Any]


@dataclass(frozen=True)
class Verdict:
    """The verdict that a law held."""

    ratio: float = 0.0
    """The largest ``|got - exact| / bound`` that was measured; 0 where none was."""


def successful_outputs(observation: Observation) -> dict[str, Array]:
    """Return the outputs of a call that had to succeed.

    Raises Violation where it did not succeed, where ``"out"`` is missing, and where an output is unknown or has another
    shape or dtype than its row of `table.OUTPUTS` says.
    """
    if (error := observation.error) is not None:
        if isinstance(error, BadOutput):
            raise Violation(str(error), raised=name_error(error)) from error
        said = f"raised {type(error).__name__}: {error}"
        raise Violation(said, raised=name_error(error), frames=own_frames(error)) from error
    problem = observation.arena.inputs.problem
    for name in {"out": None} | observation.outputs:
        if name not in OUTPUTS:
            raise Violation(f"returned {name!r} (must be one of {', '.join(OUTPUTS)})")
        row, output = OUTPUTS[name], observation.outputs.get(name)
        shape, dtype = row.shape(problem), row.dtype(problem)
        if output is None or output.shape != shape or output.dtype != dtype:
            found = "nothing" if output is None else f"{output.dtype} {output.shape}"
            raise Violation(f"returned {found}, not {dtype} of {prod(shape)} elements, as {name}")
    return observation.outputs


def successful_output(observation: Observation) -> Array:
    """Return the output named ``"out"``, ``[T, H, D]``, of `successful_outputs`."""
    return successful_outputs(observation)["out"]


def error_ratios(output: Array, expectation: Expectation, name: str = "out") -> Array:
    """Return ``|got - exact| / bound`` by element; inf where NaN or Inf is missing, misplaced or the wrong one."""
    exact, bound = expectation.outputs[name]
    got = output.astype(np.float64)
    overflow = format_of(name, expectation).overflow
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # An infinity stands for everything that rounds to it.
        reached = np.where(np.isfinite(exact), np.clip(got, -overflow, overflow), got)
        error = np.abs(reached - exact)
        ratio = np.where(error == 0, 0.0, error / bound)
    as_demanded = np.where(np.isnan(exact), np.isnan(got), got == exact)
    ratio = np.where(np.isfinite(exact), ratio, np.where(as_demanded, 0.0, np.inf))
    ratio = np.where(np.isnan(ratio), np.inf, ratio)
    return np.where(np.isinf(bound), 0.0, ratio)


def format_of(name: str, expectation: Expectation) -> Format:
    """Return the format in which the output ``name`` is returned."""
    row = OUTPUTS[name]
    return expectation.roundings.output if row.format == "input" else FORMATS[row.format]


def judge_outputs(outputs: dict[str, Array], expectation: Expectation) -> Verdict:
    """Judge every output that was returned and that the reference knows. Raises Violation, as `judge_output` does."""
    judged = (judge_output(x, expectation, name) for name, x in outputs.items() if name in expectation.outputs)
    return max(judged, key=lambda verdict: verdict.ratio, default=Verdict())


def judge_output(output: Array, expectation: Expectation, name: str = "out") -> Verdict:
    """Return the largest ratio. Raises Violation, with the worst element, where some element is out of its bound."""
    if not output.size:
        return Verdict()
    ratio = error_ratios(output, expectation, name)
    worst = float(ratio.max())
    if worst > 1.0:
        wrong = ratio > 1.0
        message = f"{int(wrong.sum())} of {ratio.size} elements out of bound, err/bound up to {worst:.3g}"
        lengths, index = expectation.query_lens, int(ratio.argmax())
        raise Violation(message, difference(wrong, output, *expectation.outputs[name], index, lengths, name))
    return Verdict(worst)


def judge_same_bits(output: Array, other: Array, what: str, query_lens: Sequence[int] = (), name: str = "out") -> None:
    """Raise Violation, whose message begins with ``what``, where two outputs have other bits.

    NaN equals NaN in the same place, since IEEE 754 leaves its payload open. The sign of a zero it does not leave open:
    the same operations in the same order give the same one, so -0.0 and 0.0 differ.
    """
    bits = f"u{output.dtype.itemsize}"
    differ = (output.view(bits) != other.view(bits)) & ~(np.isnan(output) & np.isnan(other))
    if differ.any():
        message = f"{what}: {int(differ.sum())} of {differ.size} elements have other bits"
        raise Violation(message, difference(differ, output, other, 0.0, int(differ.argmax()), query_lens, name))


def judge_memory(found: Bytes, expected: Bytes, spans: dict[str, Span], names: tuple[str, ...]) -> None:
    """Raise Violation where bytes of the tensors ``names`` are not as expected; without names, bytes of no tensor."""
    differ = found != expected
    if not differ.any():
        return
    for name in (name for name in names if name in spans):
        changed = spans[name].on_host(found).copy(), spans[name].on_host(expected).copy()
        if changed[0].tobytes() != changed[1].tobytes():
            raise Violation(_describe_change(name, *changed))
    if not names:
        for span in spans.values():
            if span.size:
                _as_bytes(span, differ)[...] = False
        if differ.any():
            offset = int(np.flatnonzero(differ)[0])
            before = [name for name, span in spans.items() if span.offset <= offset]
            near = max(before, key=lambda name: spans[name].offset, default="the first tensor")
            raise Violation(f"{int(differ.sum())} guard bytes written, the first one behind the start of {near}")


def judge_events(events: tuple[Event, ...], predictions: tuple[Prediction, ...]) -> None:
    """Raise Violation unless the events are exactly those that the reference predicts."""
    predicted = {prediction.tensor: prediction for prediction in predictions}
    for name, count in Counter(event.tensor for event in events).items():
        if name not in predicted or not predicted[name].allowed:
            event = next(event for event in events if event.tensor == name)
            raise Violation(f"logged {event}; no event is owed for it")
        if count > 1:
            raise Violation(f"logged {count} events for {name}; one is owed")
    reported = {event.tensor: event for event in events}
    for name, prediction in predicted.items():
        if name not in reported and prediction.owed:
            raise Violation(f"logged nothing for {name}; owed is {prediction}")
        if name in reported and not prediction.agrees(reported[name]):
            raise Violation(f"logged {reported[name]}; owed is {prediction}")


def finite_is_owed(expectation: Expectation, output: Format) -> Array:
    """Return a mask of elements that must be finite in ``output``.

    The exact result, and all that it may be off by before the last rounding, is finite there.
    """
    reach = np.abs(expectation.exact) + expectation.before_rounding
    owed: Array = np.isfinite(expectation.exact) & (reach < output.overflow)
    return owed


def _describe_change(name: str, found: Array, expected: Array) -> str:
    rows = (found.view(np.uint8) != expected.view(np.uint8)).reshape(found.shape[0], -1).any(axis=1)
    index = int(np.flatnonzero(rows)[0])
    held, owed = _first_few(found[index]), _first_few(expected[index])
    return f"{name}[{index}] holds {held}, expected {owed} ({int(rows.sum())} rows differ)"


def _first_few(x: Array) -> str:
    flat = [float(value) for value in x.reshape(-1)[:4]]
    return f"{flat}{'...' if x.size > 4 else ''}"


def _as_bytes(span: Span, memory: NDArray[np.bool_]) -> NDArray[np.bool_]:
    shape = (*span.shape, span.dtype.itemsize)
    return np.ndarray(shape, np.bool_, memory, span.offset, (*span.strides, 1))
