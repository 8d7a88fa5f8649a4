"""Messages between a law and the process of a backend: tensors on the way there, an answer on the way back."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from verification.problem import Problem
from verification.problem.table import TENSORS
from verification.tensors.arena import Bytes, allocate_aligned
from verification.tensors.materialize import Tensors
from verification.tensors.observation import Answer


@dataclass(frozen=True)
class View:
    """The place of a tensor in the arena."""

    offset: int
    """Bytes from the start of the arena."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """In elements."""

    def on(self, arena: Tensor) -> Tensor:
        """Return the tensor at this place of ``arena``."""
        start = (arena.storage_offset() + self.offset) // self.dtype.itemsize
        empty = torch.empty(0, dtype=self.dtype, device=arena.device)
        return empty.set_(arena.untyped_storage(), start, self.shape, self.stride)


@dataclass(frozen=True)
class Shipment:
    """`Tensors` on the host: all that a backend may see, and nothing that the harness keeps to itself."""

    memory: Bytes
    """The arena's bytes."""
    tensors: dict[str, Any]
    """By name, a `View`, or the object that a misuse made of the tensor: a copy, a list, None."""


@dataclass(frozen=True)
class Request:
    """A request to prepare ``problem`` under ``number``; with a shipment, to call what was prepared under it; without a
    problem, to look again at the memory of the calls so far.
    """

    number: int
    """Number of what is prepared; of a call, what it was prepared under."""
    problem: Problem | None
    shipment: Shipment | None = None
    call: int = 0
    """Number of the call, by which its memory is known later."""


@dataclass(frozen=True)
class Reply:
    """The reply to a request."""

    answer: Answer | None = None
    """The answer to a call; None where there was none to make."""
    error: Exception | None = None
    """The exception that `prepare` raised."""
    lost: str = ""
    """Why the process cannot be asked again; empty where it can."""
    changed: dict[int, Bytes] = field(default_factory=dict)
    """Where memory was looked at again: what has changed since the call returned, by the number of the call."""


def send(connection: Connection, message: Request | Reply) -> None:
    """Send a message as bytes: torch makes a connection's own pickler put tensors into shared memory."""
    connection.send_bytes(pickle.dumps(message))


def receive(connection: Connection) -> Any:
    """Return the next message. Raises EOFError or OSError where the other end is closed."""
    return pickle.loads(connection.recv_bytes())


def pack(tensors: Tensors) -> Shipment:
    """Return copies of all that is handed over."""
    held = {name: _pack_one(getattr(tensors, name), tensors.arena) for name in TENSORS}
    return Shipment(tensors.arena.cpu().numpy(), held)


def unpack(shipment: Shipment, device: str) -> Tensors:
    """Return the tensors of a shipment, in an arena that is aligned as the law's own is."""
    host = allocate_aligned(len(shipment.memory))
    host.numpy()[...] = shipment.memory
    arena = host if device == "cpu" else host.to(torch.device(device))
    tensors = {name: x.on(arena) if isinstance(x, View) else x for name, x in shipment.tensors.items()}
    return Tensors(arena=arena, **tensors)


def make_answer_portable(answer: Answer) -> Answer:
    """Return ``answer`` with an error that can be sent."""
    return replace(answer, error=None if answer.error is None else make_portable(answer.error))


def make_portable(error: Exception) -> Exception:
    """Return ``error`` if it can be sent, else an error of its nearest built-in base with its name and message."""
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


def _pack_one(x: Any, arena: Tensor) -> Any:
    """Return the view that ``x`` is of the arena; ``x`` itself where it is none."""
    if not isinstance(x, Tensor) or x.device != arena.device:
        return x
    if x.untyped_storage().data_ptr() != arena.untyped_storage().data_ptr():
        return x
    offset = x.storage_offset() * x.dtype.itemsize - arena.storage_offset()
    return View(int(offset), x.dtype, tuple(x.shape), x.stride())
