"""Everything that can be seen of a call is written down: output, memory, log, error."""

from __future__ import annotations

import logging
import pickle
import signal
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.verification.samples import DECODE, PREFILL
from verification.backends.captured_events import RANGE_LOG
from verification.backends.contract import Contract
from verification.backends.observe import observe, to_numpy
from verification.backends.protocol import Call, Escape, NotAsked
from verification.oracle.judge import Violation, successful_outputs
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.problem.formats import FORMATS, Format
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import Tensors


@dataclass(frozen=True)
class Fake:
    """A backend that does what it is told."""

    call: Call
    name: str = "fake"
    device: str = "cpu"
    contract: Contract = field(default=Contract(dtypes=("float16",)))
    precision: Precision = field(default=Precision())

    def prepare(self, problem: Problem) -> Call:  # noqa: ARG002
        return self.call

    def on(self, device: str) -> Fake:
        return Fake(self.call, device=device)


def ones(tensors: Tensors) -> Tensor:
    """An output of the right shape."""
    return torch.ones(len(tensors.q), tensors.q.shape[1] * tensors.q.shape[2], dtype=tensors.q.dtype)


def test_the_output_is_split_into_heads() -> None:
    """[T, H*D] becomes [T, H, D]."""
    observation = observe(Fake(ones), make_inputs(PREFILL))
    assert observation.output is not None
    assert observation.output.shape == (4, 2, 4)
    assert (observation.output == 1).all()
    assert observation.error is None


def test_a_wrong_size_is_kept_as_it_is() -> None:
    """For the judge to see."""
    observation = observe(Fake(lambda tensors: ones(tensors)[:-1]), make_inputs(PREFILL))
    assert observation.output is not None
    assert observation.output.shape == (3, 8)


def test_memory_is_that_after_the_call() -> None:
    """A copy: what happens later does not reach it."""

    def scribble(tensors: Tensors) -> Tensor:
        tensors.arena[7] = 99
        tensors.q[0, 0, 0] = 5
        return ones(tensors)

    observation = observe(Fake(scribble), make_inputs(PREFILL))
    q = observation.arena.spans["q"].offset
    assert set(np.flatnonzero(observation.memory != observation.arena.before).tolist()) <= {7, q, q + 1}
    assert observation.memory[7] == 99
    observation.arena.tensors.arena.zero_()
    assert observation.memory[7] == 99


def test_errors_are_part_of_the_answer() -> None:
    """With the events before it."""

    def fail(tensors: Tensors) -> Tensor:
        logging.getLogger(RANGE_LOG).warning("x", extra={"tensor": "q", "max": 2e4, "min": 0.0, "nonfinite": False})
        raise ValueError(f"no: {len(tensors.q)}")

    observation = observe(Fake(fail), make_inputs(DECODE))
    assert isinstance(observation.error, ValueError)
    assert observation.output is None
    assert [event.tensor for event in observation.events] == ["q"]


def test_an_interrupt_is_no_answer() -> None:
    """Ctrl-C ends the run."""

    def interrupted(_tensors: Tensors) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observe(Fake(interrupted), make_inputs(DECODE))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_still_to_be_negated(dtype: str) -> None:
    """torch does it when they are read; a view of a conjugate has such numbers."""
    problem = replace(PREFILL, dtype=dtype)

    def negated(tensors: Tensors) -> Tensor:
        out = torch.complex(torch.zeros_like(ones(tensors)), -ones(tensors)).conj().imag
        assert out.is_neg()
        return out

    observation = observe(Fake(negated), make_inputs(problem))
    assert observation.error is None
    assert observation.output is not None
    assert (observation.output == 1).all()
    assert isinstance(pickle.loads(pickle.dumps(observation.outputs))["out"], np.ndarray)  # as it travels


def test_a_complex_answer_is_no_answer() -> None:
    """Conjugate or not: it is written down, and the judge names its dtype."""

    def conjugate(tensors: Tensors) -> Tensor:
        return torch.complex(*[ones(tensors).float()] * 2).conj()

    observation = observe(Fake(conjugate), make_inputs(PREFILL))
    assert observation.output is not None
    assert (observation.output == 1 - 1j).all()
    with pytest.raises(Violation, match=r"returned complex64 .* not float16"):
        successful_outputs(observation)


def test_no_gradients_are_recorded() -> None:
    """The call runs in inference mode."""
    seen = []

    def look(tensors: Tensors) -> Tensor:
        seen.append(torch.is_inference_mode_enabled())
        return ones(tensors)

    observe(Fake(look), make_inputs(PREFILL))
    assert seen == [True]


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_to_numpy_keeps_every_bit(fmt: Format) -> None:
    """Negative zero, subnormals, NaN payloads, strides."""
    bits = np.array([[0, 1], [-(2**15), 2**15 - 1], [2**14, 2**13 + 77]], np.int16)
    held = torch.from_numpy(np.repeat(bits, fmt.numpy.itemsize // 2, axis=1)).view(fmt.torch)
    for tensor in (held, held.t(), held[::2]):
        array = to_numpy(tensor)
        assert array.dtype == fmt.numpy
        assert array.tobytes() == tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit("x"), KeyboardInterrupt(), Escape(SystemExit(3))])
def test_what_would_end_a_process_is_an_error_like_any_other(error: BaseException) -> None:
    """In a process that ignores Ctrl-C, as workers do; another isolated one hands it over in an Escape."""

    def ends(_: Tensors) -> Tensor:
        raise error

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        found = observe(Fake(ends), make_inputs(PREFILL)).error
    finally:
        signal.signal(signal.SIGINT, before)
    assert found is (error.raised if isinstance(error, Escape) else error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, NotAsked])
def test_what_is_not_the_backends_doing_is_raised(error: type[BaseException]) -> None:
    """A person's Ctrl-C, and that nobody could be asked."""

    def ends(_: Tensors) -> Tensor:
        raise error

    with pytest.raises(error):
        observe(Fake(ends), make_inputs(PREFILL))
