"""Ask a backend, and write down everything that can be seen of its answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verification.backends.captured_events import captured_events
from verification.backends.protocol import Backend, Call
from verification.oracle.violation import Crash
from verification.problem.formats import FORMATS
from verification.tensors.inputs import Inputs
from verification.tensors.materialize import Tensors, materialize
from verification.tensors.observation import Observation


def observe(backend: Backend, inputs: Inputs) -> Observation:
    """One call on fresh memory and fresh state."""
    return observe_call(backend.prepare(inputs.problem), materialize(inputs, backend.device))


def observe_call(call: Call, tensors: Tensors) -> Observation:
    """One call. Whatever it raises is part of the observation: the judge knows whether an error was owed. Raises Crash
    where there is nothing to observe any more.
    """
    output, error = None, None
    with captured_events() as events, torch.inference_mode():
        try:
            output = to_numpy(call(tensors))
        except Crash:
            raise
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


def to_torch(x: NDArray[Any]) -> torch.Tensor:
    """What `to_numpy` was given, on the host."""
    if x.dtype == FORMATS["bfloat16"].numpy:
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)
