"""What travels between a law and the process of a backend: tensors there, an answer back."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace
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
    """`Tensors` on the host: all that a backend may see, and nothing of what the harness keeps."""

    memory: Bytes
    """The arena's bytes."""
    tensors: dict[str, Any]
    """By name, a view of them, or what a misuse made of one: a copy, a list, nothing."""


@dataclass(frozen=True)
class Request:
    """Prepare ``problem`` under ``number``; with a shipment, call what was prepared under it."""

    number: int
    problem: Problem
    shipment: Shipment | None = None


@dataclass(frozen=True)
class Reply:
    """What comes back of a request."""

    answer: Answer | None = None
    """The answer to a call; None where there was none to make."""
    error: Exception | None = None
    """What `prepare` raised."""
    lost: str = ""
    """Why the process cannot be asked again; empty where it can."""


def send(connection: Connection, message: Request | Reply) -> None:
    """As bytes: torch would have a connection's own pickler put tensors into shared memory."""
    connection.send_bytes(pickle.dumps(message))


def received(connection: Connection) -> Any:
    """Raises EOFError or OSError where nobody is there any more."""
    return pickle.loads(connection.recv_bytes())


def packed(tensors: Tensors) -> Shipment:
    """Take copies of all that is handed over."""
    held = {name: _packed(getattr(tensors, name), tensors.arena) for name in TENSORS}
    return Shipment(tensors.arena.cpu().numpy(), held)


def unpacked(shipment: Shipment, device: str) -> Tensors:
    """Return the tensors in an arena that is aligned as the law's own is."""
    host = allocate_aligned(len(shipment.memory))
    host.numpy()[...] = shipment.memory
    arena = host if device == "cpu" else host.to(torch.device(device))
    tensors = {name: x.on(arena) if isinstance(x, View) else x for name, x in shipment.tensors.items()}
    return Tensors(arena=arena, **tensors)


def portable_answer(answer: Answer) -> Answer:
    """Return ``answer`` with an error that survives the way."""
    return replace(answer, error=None if answer.error is None else portable(answer.error))


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
