"""The scores of an implementation on fresh problems, a chunk at a time: what a worker process does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.power.honest import list_honest
from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.oracle.expectation import expect
from verification.oracle.judge import Violation, error_ratios, successful_output
from verification.problem import Problem
from verification.problem.json_io import to_json
from verification.tensors.inputs import make_inputs

# A sum breaks the second judge's bound with a probability of at most 2 exp(-lambda^2 / 2), 1.1e-11 for this one.
LAMBDA = 7.2


@dataclass(frozen=True)
class Chunk:
    """``examples`` problems in ``dtype`` for one implementation, from a seed of their own."""

    implementation: str
    device: str
    dtype: str
    seed: int
    examples: int
    probabilistic: float = LAMBDA

    @property
    def cell(self) -> tuple[str, str, str]:
        return self.implementation, self.device, self.dtype


@dataclass(frozen=True)
class Alarm:
    """A problem, as JSON, on which an honest implementation was called wrong."""

    problem: str
    ratio: float
    message: str


@dataclass(frozen=True)
class Sample:
    """``ratios``: the largest err/bound of each problem, 0 where nothing was rounded; ``second``: of the probabilistic
    judge, float32 only. ``alarms`` are the first few; those scored above 1 are all of them.
    """

    ratios: NDArray[np.float64]
    second: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    alarms: tuple[Alarm, ...] = ()
    seconds: float = 0.0


KEPT_ALARMS = 20
LARGEST = 1e300  # stands for an infinite ratio: JSON has none
Ratios = tuple[float, float | None, str]


def measure_chunk(chunk: Chunk, backends: Callable[[], list[Backend]] = list_honest) -> Sample:
    """``backends`` is called here, in the worker: what it gives need not be picklable."""
    named = {(backend.name, backend.device): backend for backend in backends()}
    backend = named[chunk.implementation, chunk.device]
    return measure_sample(backend, chunk.dtype, chunk.seed, chunk.examples, chunk.probabilistic)


def measure_sample(
    backend: Backend, dtype: str, base_seed: int, examples: int, probabilistic: float = LAMBDA
) -> Sample:
    """No problem stops the others: an alarm is counted and kept."""
    first: list[float] = []
    second: list[float] = []
    alarms: list[Alarm] = []

    def check(problem: Problem) -> None:
        ratio, other, message = measure_ratios(backend, problem, probabilistic)
        first.append(ratio)
        if other is not None:
            second.append(other)
        if ratio > 1.0 and len(alarms) < KEPT_ALARMS:
            alarms.append(Alarm(to_json(problem), min(ratio, LARGEST), message))

    start = perf_counter()
    try_each(problems_within(backend.contract, dtype), check, base_seed, examples)
    return Sample(np.array(first), np.array(second), tuple(alarms), perf_counter() - start)


def measure_ratios(backend: Backend, problem: Problem, probabilistic: float) -> Ratios:
    """The largest err/bound, that of the second judge where there is one, and what went wrong if no output came."""
    inputs = make_inputs(problem)
    try:
        output = successful_output(observe(backend, inputs))
    except Violation as violation:
        return np.inf, None, str(violation)
    precisions = [backend.precision]
    if problem.dtype == "float32":
        precisions.append(replace(backend.precision, probabilistic=probabilistic))
    worst = [float(error_ratios(output, expect(inputs, precision)).max(initial=0.0)) for precision in precisions]
    return worst[0], worst[1] if len(worst) > 1 else None, ""


def derive_seed(base_seed: int, dtype: str, number: int) -> int:
    """The same for all implementations and devices: those with the same limits meet the same problems."""
    return crc32(f"{base_seed}/soundness/{dtype}/{number}".encode())
