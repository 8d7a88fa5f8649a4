"""Calls of a backend, and all that can be seen of its answer."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from verification.backends.captured_events import captured_events
from verification.backends.protocol import Backend, Call, Escape, NotAsked, Unprepared
from verification.backends.returned import check_returned
from verification.oracle.violation import Crash
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.table import OUTPUTS
from verification.tensors.inputs import Inputs
from verification.tensors.materialize import Arena, Tensors, materialize, view_tensors
from verification.tensors.observation import Answer, Observation
from verification.tensors.shared import find_asked


class Listener(Protocol):
    """A listener, told of every call that `observe_call` makes, before and after it."""

    def about_to_call(self, call: Call, arena: Arena) -> None: ...
    def called(self, call: Call, observation: Observation) -> None: ...


_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell ``listener`` of all calls that are made meanwhile in this process."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def observe(backend: Backend, inputs: Inputs) -> Observation:
    """Return the observation of one call on fresh memory and fresh state. Raises Crash where there is none."""

    def call() -> Observation:
        return observe_call(backend.prepare(inputs.problem), materialize(inputs, backend.device))

    shared = find_asked(backend, inputs)
    return shared.recall("observation", lambda: _without_tensors(call())) if shared else call()


def _without_tensors(observation: Observation) -> Observation:
    """Return the observation without the device's memory, which it would hold as long as it is kept: all that a law
    reads of a call that is over lies on the host.
    """
    arena = observation.arena
    return replace(observation, arena=replace(arena, tensors=view_tensors({}, arena.tensors.arena[:0].clone())))


def observe_call(call: Call, arena: Arena) -> Observation:
    """Return the observation of one call. Raises Crash where the backend's process ended or did not answer."""
    for listener in _listeners:
        listener.about_to_call(call, arena)
    answer = ask(call, arena.tensors)
    outputs = {name: _reshape(name, x, arena.inputs.problem) for name, x in answer.outputs.items()}
    observation = Observation(outputs, answer.memory, answer.events, answer.error, arena)
    for listener in _listeners:
        listener.called(call, observation)
    return observation


def ask(call: Call, tensors: Tensors) -> Answer:
    """Return the answer to one call, without shapes. Raises Crash where the backend's process gave no answer.

    Any other exception is part of the answer, SystemExit too, since only the judge knows whether an error was owed.
    Raises KeyboardInterrupt where a person ends the process, and what a preparation raised that was left until now.
    """
    outputs: dict[str, NDArray[Any]] = {}
    error: BaseException | None = None
    with captured_events() as events, torch.inference_mode():
        try:
            outputs = {name: to_numpy(x) for name, x in _name_outputs(call(tensors)).items()}
        except (Crash, NotAsked):
            raise
        except Unprepared as failed:
            raise crash_of_preparing(failed.raised) or failed.raised from None
        except BaseException as raised:
            if is_ctrl_c(raised):
                raise
            error = find_escape(raised) or raised
    return Answer(outputs, tensors.arena.cpu().numpy().copy(), tuple(events), error)


def is_ctrl_c(error: BaseException) -> bool:
    """Return True if a person may have raised an error. Where a process ignores Ctrl-C, a backend has."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def find_escape(error: BaseException) -> BaseException | None:
    """Return the exception that a backend raised if it is no `Exception`, as SystemExit; None where a person pressed
    Ctrl-C and where the backend is not to blame.
    """
    if isinstance(error, Escape):
        return error.raised
    return None if isinstance(error, Exception | NotAsked) or is_ctrl_c(error) else error


def crash_of_preparing(error: BaseException) -> Crash | None:
    """Return the crash if a backend raised what is no `Exception`, as SystemExit, while it prepared a call."""
    raised = find_escape(error)
    if raised is None:
        return None
    return Crash(f"the backend raised {type(raised).__name__} while it prepared a call: {raised}".rstrip(": "))


def _name_outputs(returned: Any) -> Mapping[str, torch.Tensor]:
    """Return outputs by name. Raises BadOutput, in one line, where a backend returned anything else."""
    outputs = returned if isinstance(returned, Mapping) else {"out": returned}
    return {name: check_returned(name, x) for name, x in outputs.items()}


def _reshape(name: str, x: NDArray[Any], problem: Problem) -> NDArray[Any]:
    """Return an output in the shape of `table.OUTPUTS` if it has as many elements: ``[T, H * D]`` as ``[T, H, D]``."""
    shape = OUTPUTS[name].shape(problem) if name in OUTPUTS else x.shape
    return x.reshape(shape) if x.size == prod(shape) else x


def to_numpy(x: torch.Tensor) -> NDArray[Any]:
    """Return a copy on the host, in the same format.

    Bits that say that numbers are still to be negated or conjugated, which views of complex tensors have, are resolved
    first: neither NumPy nor a view of the bytes knows them.
    """
    x = x.detach().resolve_conj().resolve_neg()
    name = str(x.dtype).removeprefix("torch.")
    if name == "bfloat16":  # NumPy has no such type of its own, and torch does not convert to the one of ml_dtypes
        bits: NDArray[Any] = x.contiguous().view(torch.int16).cpu().numpy().copy()
        return bits.view(FORMATS[name].numpy)
    host: NDArray[Any] = x.cpu().numpy().copy()
    return host


def to_torch(x: NDArray[Any]) -> torch.Tensor:
    """Return a tensor on the host over the memory of ``x``, in the same format."""
    if x.dtype == FORMATS["bfloat16"].numpy:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)
