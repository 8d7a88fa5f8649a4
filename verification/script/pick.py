"""Choice of the call to show among those that a law made."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from verification.backends.expected import expected_from
from verification.backends.observe import observe_call
from verification.backends.protocol import Backend
from verification.backends.snippet import ScriptError
from verification.oracle.expectation import expected_memory, sequences, store
from verification.oracle.judge import (
    Violation,
    judge_events,
    judge_memory,
    judge_outputs,
    judge_same_bits,
    successful_output,
    successful_outputs,
)
from verification.oracle.predicted_events import excuse_uncomputed
from verification.problem.scoring import PLAIN
from verification.problem.table import CACHES, INDICES, TOKENS, given_to
from verification.script.case import Case, Step
from verification.tensors.inputs import Inputs
from verification.tensors.materialize import Arena, materialize
from verification.tensors.observation import Observation

Wrong = Callable[[Observation], bool]
_READ_ONLY = (*TOKENS, *INDICES)


def pick_case(steps: Sequence[Step], backend: Backend, bad_input: bool, same_bits: bool, before: int = 0) -> Case:
    """Return the first call with a wrong answer or a wrong change, else the first with a wrong log.

    Where no call is wrong and ``same_bits`` are claimed, return two calls that differ. A law of ``bad_input`` shows its
    last call. The first steps, as many as ``before`` says, are shown whatever is wrong, since nothing is without them.
    Raises ScriptError where no call and no two of them show anything.
    """
    if bad_input:
        return Case("refusal", tuple(steps), watched=_tensors_of(steps[-1].arena))

    def answers_wrong(observation: Observation) -> bool:
        return _breaks(_judge_answer, observation, backend)

    def logs_wrong(observation: Observation) -> bool:
        return _breaks(_judge_log, observation, backend)

    first, steps = tuple(steps[:before]), steps[before:]
    for i, step in enumerate(steps):
        if answers_wrong(step.observation):
            changed = tuple(name for name in _READ_ONLY if _has_changed(step.observation, (name,)))
            return Case("answer", (*first, *_needed(steps[: i + 1], backend, answers_wrong)), watched=changed)
    for i, step in enumerate(steps):
        phase = step.inputs.problem.phase
        if backend.contract.in_phase(phase).range_events and logs_wrong(step.observation):
            return Case("log", (*first, *_needed(steps[: i + 1], backend, logs_wrong)))
    for i in range(len(steps) if same_bits else 0):
        for j in range(i):
            if case := _pair(steps, j, i, backend):
                return case
    if any(_has_changed(step.observation, ()) for step in steps):
        raise ScriptError("memory outside of the tensors was written: a script of literal tensors does not show it")
    raise ScriptError("no single call is wrong by itself, and no two of equal numbers differ: nothing to show")


def _tensors_of(arena: Arena) -> tuple[str, ...]:
    """Return the names of the tensors that can be looked at again after the call."""
    given = {name: getattr(arena.tensors, name) for name in given_to(arena.inputs.problem)}
    return tuple(name for name, x in given.items() if getattr(getattr(x, "device", None), "type", "meta") != "meta")


def _breaks(judge: Callable[[Observation, Backend], None], observation: Observation, backend: Backend) -> bool:
    try:
        judge(observation, backend)
    except Violation:
        return True
    return False


def _judge_answer(observation: Observation, backend: Backend) -> None:
    """Raise Violation unless outputs are in bound, caches are exact, and all other tensors are as they were."""
    judge_outputs(successful_outputs(observation), expected_from(backend, observation.arena.inputs))
    if _has_changed(observation, (*CACHES, *_READ_ONLY)):
        raise Violation("what it wrote")


def _judge_log(observation: Observation, backend: Backend) -> None:
    """Raise Violation unless exactly the owed events were logged."""
    inputs = observation.arena.inputs
    uncomputed = backend.contract.in_phase(inputs.problem.phase).uncomputed
    judge_events(observation.events, excuse_uncomputed(expected_from(backend, inputs).predictions, uncomputed))


def _has_changed(observation: Observation, names: tuple[str, ...]) -> bool:
    arena = observation.arena
    try:
        judge_memory(observation.memory, expected_memory(arena, store(arena.inputs)), arena.spans, names)
    except Violation:
        return True
    return False


def _needed(steps: Sequence[Step], backend: Backend, wrong: Wrong) -> tuple[Step, ...]:
    """Return the last call, alone if it goes wrong on a new object too, else with all earlier calls on its object."""
    last = steps[-1]
    before = tuple(step for step in steps[:-1] if step.layer == last.layer)
    if before:
        inputs = last.inputs
        alone = observe_call(backend.prepare(inputs.problem), materialize(inputs, backend.device))
        if not wrong(alone):
            return (*before, last)
    return (last,)


def _pair(steps: Sequence[Step], first: int, second: int, backend: Backend) -> Case | None:
    """Return two calls, if some of their rows ask the same of the same numbers and differ."""
    if any(step.inputs.problem.scoring != PLAIN for step in steps):
        return None  # rows are more than a query and the keys that it sees
    one, other = steps[first], steps[second]
    outputs = [successful_output(step.observation) for step in (one, other)]
    asked = [_questions(step.inputs) for step in (one, other)]
    rows = [(row, asked[1].index(question)) for row, question in enumerate(asked[0]) if question in asked[1]]
    if not rows or outputs[0].shape[1:] != outputs[1].shape[1:]:
        return None
    mine, others = (np.array(column) for column in zip(*rows, strict=True))

    def differs(answer: np.ndarray, from_: np.ndarray) -> bool:
        try:
            judge_same_bits(answer, from_, "")
        except Violation:
            return True
        return False

    if not differs(outputs[0][mine], outputs[1][others]):
        return None
    before = _needed(steps[: first + 1], backend, lambda alone: not differs(successful_output(alone), outputs[0]))
    after = _needed(steps[: second + 1], backend, lambda alone: not differs(successful_output(alone), outputs[1]))
    made = [*before, *(step for step in after if all(step is not earlier for earlier in before))]
    return Case("bits", tuple(made), len(before) - 1, tuple(mine.tolist()), tuple(others.tolist()))


def _questions(inputs: Inputs) -> list[tuple[bytes, ...]]:
    """Return the question of each row: its query, and the keys and values that it sees, for each query head."""
    n_rep = inputs.problem.num_heads // inputs.problem.num_kv_heads
    asked: dict[int, tuple[bytes, ...]] = {}
    for sequence in sequences(store(inputs)):
        keys, values = (np.repeat(x, n_rep, axis=1) for x in (sequence.keys, sequence.values))
        for i, count in enumerate(sequence.counts):
            seen = (sequence.q[i], keys[:count], values[:count])
            asked[sequence.rows.start + i] = (str(count).encode(), *(x.tobytes() for x in seen))
    return [asked[row] for row in range(len(inputs.q))]
