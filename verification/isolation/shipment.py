"""What travels between a law and the process of a backend: tensors there, an answer back."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from verification.problem import Problem
from verification.tensors.arena import Bytes, Span, aligned
from verification.tensors.inputs import Inputs
from verification.tensors.layout import TENSOR_NAMES
from verification.tensors.materialize import Tensors
from verification.tensors.observation import Event, Observation


@dataclass(frozen=True)
class View:
    """A tensor in the arena; ``offset`` in bytes, ``stride`` in elements."""

    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def on(self, arena: Tensor) -> Tensor:
        start = (arena.storage_offset() + self.offset) // self.dtype.itemsize
        empty = torch.empty(0, dtype=self.dtype, device=arena.device)
        return empty.set_(arena.untyped_storage(), start, self.shape, self.stride)


@dataclass(frozen=True)
class Shipment:
    """`Tensors` on the host. ``tensors`` are views, or what a misuse made of one: a copy, a list, nothing.

    ``before`` is None where it is ``memory``: until the first call.
    """

    inputs: Inputs
    memory: Bytes
    before: Bytes | None
    spans: dict[str, Span]
    tensors: dict[str, Any]


@dataclass(frozen=True)
class Request:
    """Prepare ``problem`` under ``number``; with a shipment, call what was prepared under it."""

    number: int
    problem: Problem
    shipment: Shipment | None = None


@dataclass(frozen=True)
class Answer:
    """An `Observation` without what the law has itself. ``lost`` says why the process cannot be asked again."""

    output: NDArray[Any] | None = None
    memory: Bytes | None = None
    events: tuple[Event, ...] = ()
    error: Exception | None = None
    lost: str = ""


def send(connection: Connection, message: Request | Answer) -> None:
    """As bytes: torch would have a connection's own pickler put tensors into shared memory."""
    connection.send_bytes(pickle.dumps(message))


def received(connection: Connection) -> Any:
    """Raises EOFError or OSError where nobody is there any more."""
    return pickle.loads(connection.recv_bytes())


def packed(tensors: Tensors) -> Shipment:
    memory = tensors.arena.cpu().numpy()
    before = None if (memory == tensors.before).all() else tensors.before
    held = {name: _packed(getattr(tensors, name), tensors.arena) for name in TENSOR_NAMES}
    return Shipment(tensors.inputs, memory, before, tensors.spans, held)


def unpacked(shipment: Shipment, device: str) -> Tensors:
    """In an arena that is aligned as the law's own is."""
    host = aligned(len(shipment.memory))
    host.numpy()[...] = shipment.memory
    arena = host if device == "cpu" else host.to(torch.device(device))
    tensors = {name: x.on(arena) if isinstance(x, View) else x for name, x in shipment.tensors.items()}
    before = shipment.memory if shipment.before is None else shipment.before
    return Tensors(shipment.inputs, arena, before, shipment.spans, **tensors)


def answer_of(observation: Observation) -> Answer:
    error = None if observation.error is None else portable(observation.error)
    return Answer(observation.output, observation.memory, observation.events, error)


def portable(error: Exception) -> Exception:
    """The same error where it survives the way, else the nearest built-in kind of it with the same message."""
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:
        pass
    kind = next(base for base in type(error).__mro__ if base.__module__ == "builtins")
    said = str(error) if kind is type(error) else f"{type(error).__name__}: {error}"
    try:
        made: Exception = kind(said)
    except Exception:  # a built-in that takes more than a message
        made = RuntimeError(said)
    return made


def _packed(x: Any, arena: Tensor) -> Any:
    if not isinstance(x, Tensor) or x.device != arena.device:
        return x
    if x.untyped_storage().data_ptr() != arena.untyped_storage().data_ptr():
        return x
    offset = x.storage_offset() * x.dtype.itemsize - arena.storage_offset()
    return View(int(offset), x.dtype, tuple(x.shape), x.stride())
