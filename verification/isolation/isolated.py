"""A backend in a process of its own: what kills it is a violation, and the next problem finds another process."""

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
from verification.isolation.shipment import Request, packed
from verification.problem import Problem
from verification.tensors.materialize import Tensors

_NUMBERS = count()


@dataclass(frozen=True)
class Isolated(Wrapped):
    """``inner`` says here what it promises; the one that is asked is made from ``source`` there."""

    source: str
    crash_after: float
    host: Host = field(repr=False, compare=False)

    def on(self, device: str) -> Backend:
        try:
            return open_backend(self.source, device, self.crash_after)
        except UnknownBackend as error:
            raise NotPortable(str(error)) from None

    def prepare(self, problem: Problem) -> Call:
        """Raises what the backend raises, and Crash, as do its calls."""
        request = Request(next(_NUMBERS), problem)
        reply = self.host.ask(request)
        if reply.error is not None:
            raise reply.error

        def call(tensors: Tensors) -> Returned:
            reply = self.host.ask(Request(request.number, problem, packed(tensors)))
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
    """The backend of that name, in a process of its own where we do not know what it does. ``crash_after``: seconds
    without an answer that count as a crash; None where the backend is trusted not to crash. Raises UnknownBackend.
    """
    backend = backend_named(source, device)
    if crash_after is None or not is_foreign(source) or not hasattr(os, "fork"):
        return backend
    return Isolated(backend, source, crash_after, Host(source, device, crash_after))


@contextmanager
def hurried(backend: Backend) -> Iterator[None]:
    """While it lasts, less time counts as a crash: enough for candidates, which are then looked at with patience."""
    if isinstance(backend, Isolated):
        with backend.host.hurried():
            yield
    else:
        yield
