"""Ask a backend, and write down everything that can be seen of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from verification.arena import Bytes
from verification.backend import Backend, Call
from verification.events import Event, captured_events
from verification.formats import FORMATS
from verification.inputs import Inputs
from verification.materialize import Tensors, materialize


@dataclass(frozen=True)
class Observation:
    """The output ``[T, H, D]`` (None where ``error`` was raised), the arena's bytes after the call, the log."""

    tensors: Tensors
    output: NDArray[Any] | None
    memory: Bytes
    events: tuple[Event, ...]
    error: Exception | None


def observe(backend: Backend, inputs: Inputs) -> Observation:
    """One call on fresh memory and fresh state."""
    return observe_call(backend.prepare(inputs.problem), materialize(inputs, backend.device))


def observe_call(call: Call, tensors: Tensors) -> Observation:
    """One call. Whatever it raises is part of the observation: the judge knows whether an error was owed."""
    output, error = None, None
    with captured_events() as events, torch.inference_mode():
        try:
            output = to_numpy(call(tensors))
        except Exception as raised:
            error = raised
    if output is not None and output.size == tensors.inputs.q.size:
        output = output.reshape(tensors.inputs.q.shape)
    return Observation(tensors, output, tensors.arena.cpu().numpy().copy(), tuple(events), error)


def to_numpy(x: torch.Tensor) -> NDArray[Any]:
    """A copy on the host, in the same format."""
    name = str(x.dtype).removeprefix("torch.")
    if name == "bfloat16":  # NumPy has no such type of its own, so torch will not convert it
        bits: NDArray[Any] = x.contiguous().view(torch.int16).cpu().numpy().copy()
        return bits.view(FORMATS[name].numpy)
    host: NDArray[Any] = x.cpu().numpy().copy()
    return host
