"""Messages between a law and the process of a backend: tensors on the way there, an answer on the way back."""

from __future__ import annotations

import builtins
import io
import pickle
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from verification.isolation.declared import Opened
from verification.oracle.frames import keep_frames, own_frames
from verification.oracle.violation import BadOutput
from verification.problem import Problem
from verification.problem.table import TENSORS
from verification.tensors.arena import Bytes, allocate_aligned
from verification.tensors.materialize import Tensors
from verification.tensors.observation import Answer

# All that a reply is made of, by module. Whatever else it names is not loaded: that would import its module here.
_OURS: dict[str, tuple[str, ...]] = {
    "verification.isolation.shipment": ("Reply",),
    "verification.isolation.declared": ("Opened",),
    "verification.oracle.violation": ("BadOutput",),
    "verification.tensors.observation": ("Answer", "Event"),
    "numpy": ("ndarray", "dtype"),
    "ml_dtypes": ("bfloat16",),
    **dict.fromkeys(("numpy._core.multiarray", "numpy.core.multiarray"), ("_reconstruct", "scalar")),
    **dict.fromkeys(("numpy._core.numeric", "numpy.core.numeric"), ("_frombuffer",)),
}
# Classes of the arguments with which an error is made again; others, subclasses too, may be from anywhere.
_PLAIN = (str, int, float, bool, type(None))


class UnreadableReply(Exception):
    """Raised for a reply that is none of ours."""


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
    """A request to make the ``call`` of that number, which is prepared for ``problem`` where it is not yet; without a
    problem, to look again at the memory of the calls so far.
    """

    call: int = 0
    problem: Problem | None = None
    shipment: Shipment | None = None
    number: int = 0
    """The request's own number, which its reply repeats, and by which the memory of a call is known later."""


@dataclass(frozen=True)
class Reply:
    """The reply to a request."""

    number: int = 0
    """Number of the request; 0 in the first reply of a process, which nobody has asked for."""
    process: int = 0
    """The process that replies."""
    answer: Answer | None = None
    """The answer to a call; None where there was none to make."""
    error: BaseException | None = None
    """The exception that `prepare` raised."""
    lost: str = ""
    """Why the process cannot be asked again; empty where it can."""
    opened: Opened | None = None
    """In the first reply, the backend as it declares itself."""
    changed: dict[int, Bytes] = field(default_factory=dict)
    """Where memory was looked at again: what has changed since the call returned, by the number of its request."""


def send(connection: Connection, message: Request | Reply) -> None:
    """Send a message as bytes: torch makes a connection's own pickler put tensors into shared memory."""
    connection.send_bytes(pickle.dumps(message))


def receive(connection: Connection) -> Any:
    """Return the next message of the harness. Raises EOFError or OSError where the other end is closed."""
    return pickle.loads(connection.recv_bytes())


def receive_reply(connection: Connection) -> Reply:
    """Return the next reply, and import nothing for it: a module that a backend brings stays in the backend's process.

    Raises EOFError or OSError where the other end is closed, and UnreadableReply.
    """
    received = connection.recv_bytes()
    try:
        reply = _ReplyReader(io.BytesIO(received)).load()
    except Exception as error:
        raise UnreadableReply(f"{type(error).__name__}: {error}".splitlines()[0]) from None
    if not isinstance(reply, Reply):
        raise UnreadableReply(f"{type(reply).__name__} (must be a reply)")
    return reply


class _ReplyReader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "builtins":
            found = getattr(builtins, name, None)
            if isinstance(found, type) and issubclass(found, BaseException | set | frozenset):
                return found
        elif name in _OURS.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a reply")


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
    """Return ``answer`` with names of outputs and an error that can be sent."""
    outputs = {str(name): x for name, x in answer.outputs.items()}
    return replace(answer, outputs=outputs, error=None if answer.error is None else make_portable(answer.error))


def make_portable(error: BaseException) -> BaseException:
    """Return an error with the same text that anybody can read: of a built-in class, with its message and notes alone,
    and with the kernel's own frames, which its traceback would lose on the way.

    That of a class from elsewhere becomes one of its nearest built-in base, with its name before the message: whoever
    reads an error must not have to import the module of its class.
    """
    made: BaseException = RuntimeError(f"{type(error).__name__}: {error}")
    known = (base for base in type(error).__mro__ if base.__module__ == "builtins" and base is not object)
    for kind in (BadOutput,) if type(error) is BadOutput else known:
        said = str(error) if kind is type(error) else f"{type(error).__name__}: {error}"
        plain = kind is type(error) and all(type(x) in _PLAIN for x in error.args)
        with suppress(Exception):  # a built-in that takes more than a message
            found = kind(*error.args) if plain else kind(said)
            if str(found) == said:
                made = found
                break
    for note in getattr(error, "__notes__", ()):
        made.add_note(str(note))
    return keep_frames(made, own_frames(error))


def _pack_one(x: Any, arena: Tensor) -> Any:
    """Return the view that ``x`` is of the arena; ``x`` itself where it is none."""
    if not isinstance(x, Tensor) or x.device != arena.device:
        return x
    if x.untyped_storage().data_ptr() != arena.untyped_storage().data_ptr():
        return x
    offset = x.storage_offset() * x.dtype.itemsize - arena.storage_offset()
    return View(int(offset), x.dtype, tuple(x.shape), x.stride())
