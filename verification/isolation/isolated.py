"""A backend in a process of its own: its death is a violation, and the next problem finds another process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import torch

from verification.backends.captured_events import log_again
from verification.backends.observe import to_torch
from verification.backends.protocol import Backend, Call, NotPortable, Returned, Wrapped
from verification.catalogue import UnknownBackend, backend_named, is_foreign
from verification.isolation.host import Host
from verification.isolation.shipment import Request, pack
from verification.problem import Problem
from verification.tensors.materialize import Tensors

# Numbers of requests, by which a process knows what it has prepared and which calls it has made.
_NUMBERS = count()


@dataclass(frozen=True)
class Isolated(Wrapped):
    """A backend that is made and asked in another process; ``inner``, in this one, only says what it promises."""

    source: str
    """Name from which the other process makes the backend."""
    crash_after: float
    """Seconds without an answer that count as a crash."""
    host: Host = field(repr=False, compare=False)
    """Owner of the other process."""

    def on(self, device: str) -> Backend:
        try:
            return open_backend(self.source, device, self.crash_after)
        except UnknownBackend as error:
            raise NotPortable(str(error)) from None

    def prepare(self, problem: Problem) -> Call:
        """Prepare a call there. It raises what the backend raises, or Crash; so do calls of what is returned."""
        request = Request(next(_NUMBERS), problem)
        reply = self.host.ask(request)
        if reply.error is not None:
            raise reply.error

        def call(tensors: Tensors) -> Returned:
            asked = Request(request.number, problem, pack(tensors), next(_NUMBERS))
            reply = self.host.call(asked, tensors.arena)
            if reply.error is not None:
                raise reply.error
            answer = reply.answer
            assert answer is not None
            log_again(answer.events)
            tensors.arena.copy_(torch.from_numpy(answer.memory))
            if answer.error is not None:
                raise answer.error
            return {name: to_torch(x) for name, x in answer.outputs.items()}

        return call


@cache
def open_backend(source: str, device: str, crash_after: float | None) -> Backend:
    """Return the backend of that name, in a process of its own if its code is foreign. Raises UnknownBackend.

    ``crash_after``: seconds without an answer that count as a crash; None where the backend is trusted not to crash.
    """
    backend = backend_named(source, device)
    if crash_after is None or not is_foreign(source) or not hasattr(os, "fork"):
        return backend
    return Isolated(backend, source, crash_after, Host(source, device, crash_after))


def fetch_memory(backend: Backend) -> None:
    """Fetch the memory of the latest calls once more, where they were made in a process of its own. Raises Crash."""
    if isinstance(backend, Isolated):
        backend.host.look_again()


@contextmanager
def hurried(backend: Backend) -> Iterator[None]:
    """Let less time count as a crash for a while.

    It is enough for candidates of a shrinker, which are looked at with patience before they count.
    """
    if isinstance(backend, Isolated):
        with backend.host.hurried():
            yield
    else:
        yield
