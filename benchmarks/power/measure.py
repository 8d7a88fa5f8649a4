"""The ratios of an implementation on fresh problems, a chunk at a time: the work of one process."""

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
from verification.problem.large import size_of
from verification.tensors.inputs import make_inputs

# A sum breaks the second judge's bound with a probability of at most 2 exp(-lambda^2 / 2): for this lambda 1.1e-11, few
# enough for 100,000 problems.
LAMBDA = 7.2


@dataclass(frozen=True)
class Chunk:
    """Problems for one implementation, drawn from a seed of their own."""

    implementation: str
    """Name of the implementation."""
    device: str
    """Device that it runs on."""
    dtype: str
    """Format of the problems."""
    seed: int
    """Seed that the problems are drawn from."""
    examples: int
    """Number of problems."""
    probabilistic: float = LAMBDA
    """Lambda of the second judge."""

    @property
    def cell(self) -> tuple[str, str, str]:
        """Return implementation, device and dtype."""
        return self.implementation, self.device, self.dtype


@dataclass(frozen=True)
class Alarm:
    """A problem on which an honest implementation was called wrong."""

    problem: str
    """The problem as JSON."""
    ratio: float
    """Largest err/bound, at most `LARGEST`."""
    message: str
    """Reason why no output came; empty if one did."""


@dataclass(frozen=True)
class Sample:
    """The ratios of some problems."""

    ratios: NDArray[np.float64]
    """Largest err/bound of each problem, 0 where nothing was rounded."""
    second: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """Largest err/bound of each problem under the probabilistic judge; float32 only."""
    sizes: tuple[str, ...] = ()
    """Profile of each problem: tiny, kernel or engine."""
    alarms: tuple[Alarm, ...] = ()
    """The first few alarms; the ratios above 1 are all of them."""
    seconds: float = 0.0
    """Time that the sample took."""


# Alarms kept of a sample and of a cell: all are counted, and a report stays readable.
KEPT_ALARMS = 20
# Stands for an infinite ratio: JSON has none.
LARGEST = 1e300
# The largest err/bound, that of the second judge, and what went wrong.
Ratios = tuple[float, float | None, str]


def measure_chunk(chunk: Chunk, backends: Callable[[], list[Backend]] = list_honest) -> Sample:
    """Measure a chunk.

    ``backends`` is called here, in the worker, so its backends need not be picklable.
    """
    named = {(backend.name, backend.device): backend for backend in backends()}
    backend = named[chunk.implementation, chunk.device]
    return measure_sample(backend, chunk.dtype, chunk.seed, chunk.examples, chunk.probabilistic)


def measure_sample(
    backend: Backend, dtype: str, base_seed: int, examples: int, probabilistic: float = LAMBDA
) -> Sample:
    """Measure fresh problems; no problem stops the others, and an alarm is counted and kept."""
    first: list[float] = []
    second: list[float] = []
    sizes: list[str] = []
    alarms: list[Alarm] = []

    def check(problem: Problem) -> None:
        ratio, other, message = measure_ratios(backend, problem, probabilistic)
        first.append(ratio)
        sizes.append(size_of(problem))
        if other is not None:
            second.append(other)
        if ratio > 1.0 and len(alarms) < KEPT_ALARMS:
            alarms.append(Alarm(to_json(problem), min(ratio, LARGEST), message))

    start = perf_counter()
    try_each(problems_within(backend.contract, dtype), check, base_seed, examples)
    return Sample(np.array(first), np.array(second), tuple(sizes), tuple(alarms), perf_counter() - start)


def measure_ratios(backend: Backend, problem: Problem, probabilistic: float) -> Ratios:
    """Return the largest err/bound, that of the second judge if there is one, and what went wrong if no output came."""
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
    """Return the seed of a chunk.

    Implementations and devices share it, so those with the same limits meet the same problems.
    """
    return crc32(f"{base_seed}/soundness/{dtype}/{number}".encode())
