"""A backend in a process of its own: its death is a violation, and the next problem finds another process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import torch

from verification.backends.captured_events import log_again
from verification.backends.contract import Contract
from verification.backends.documented import Weaker
from verification.backends.observe import to_torch
from verification.backends.protocol import Backend, Call, Escape, NotPortable, Returned, Unprepared
from verification.catalogue import DEVICES, UnknownBackend, backend_named, devices_of, is_foreign
from verification.isolation.declared import Declared, Opened, from_plain
from verification.isolation.host import Host
from verification.isolation.shipment import Request, pack
from verification.oracle.precision import Precision
from verification.oracle.violation import Crash
from verification.problem import Problem
from verification.tensors.materialize import Tensors

# Numbers of prepared calls, by which a process knows what it has prepared.
_NUMBERS = count()


@dataclass(frozen=True)
class Isolated:
    """A backend that is imported, made and asked in another process. This one never imports its module."""

    source: str
    """Name from which the other process makes the backend."""
    crash_after: float
    """Seconds without an answer that count as a crash."""
    declared: Declared
    """The backend as it declares itself there."""
    host: Host = field(repr=False, compare=False)
    """Owner of the other process."""

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def device(self) -> str:
        return self.declared.device

    @property
    def contract(self) -> Contract:
        return self.declared.contract

    @property
    def precision(self) -> Precision:
        return self.declared.precision

    @property
    def weaker(self) -> tuple[Weaker, ...]:
        return self.declared.weaker

    def on(self, device: str) -> Backend:
        try:
            return open_backend(self.source, device, self.crash_after)
        except UnknownBackend as error:
            raise NotPortable(str(error)) from None

    def prepare(self, problem: Problem) -> Call:
        """Return a call that is prepared there when it is made, since each message takes its time. It raises what the
        backend raises, or Crash; Unprepared where it could not be prepared.
        """
        number = next(_NUMBERS)

        def call(tensors: Tensors) -> Returned:
            reply = self.host.call(Request(number, problem, pack(tensors)), tensors.arena)
            if reply.error is not None:
                error = reply.error
                raise Unprepared(error if isinstance(error, Exception) else Escape(error))
            answer = reply.answer
            if answer is None:
                raise Crash("the backend's process sent no answer to a call")
            log_again(answer.events)
            tensors.arena.copy_(torch.from_numpy(answer.memory))
            _raise(answer.error)
            return {name: to_torch(x) for name, x in answer.outputs.items()}

        return call


def open_backend(source: str, device: str, crash_after: float | None) -> Backend:
    """Return the backend of that name, in a process of its own if its code is foreign. Raises UnknownBackend.

    ``crash_after``: seconds without an answer that count as a crash; None where the backend is trusted not to crash,
    and its module is imported here.
    """
    if crash_after is None or not _is_isolated(source):
        return backend_named(source, device)
    if device not in DEVICES:
        raise UnknownBackend(f"device: {device!r} (must be one of {', '.join(DEVICES)})")
    return _isolate(source, device, crash_after)


def find_devices(source: str, crash_after: float | None) -> tuple[str, ...]:
    """Return the devices that a backend runs on, found out in the process in which `open_backend` opens it.

    Raises UnknownBackend.
    """
    if crash_after is None or not _is_isolated(source):
        return devices_of(source)
    return _open(source, DEVICES[0], crash_after)[1].devices


def end_process(backend: Backend) -> None:
    """End the process of an isolated backend, until it is asked again."""
    if isinstance(backend, Isolated):
        backend.host.close()


def wake(backend: Backend) -> None:
    """Start the process of a backend that has one of its own, so that no problem has to wait for it. Where it does not
    come up, the first problem tells.
    """
    if isinstance(backend, Isolated):
        with suppress(Crash):
            backend.host.wake()


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


def _is_isolated(source: str) -> bool:
    return is_foreign(source) and hasattr(os, "fork")


@cache
def _isolate(source: str, device: str, crash_after: float) -> Isolated:
    host, opened = _open(source, device, crash_after)
    if opened.plain is None:
        raise UnknownBackend(opened.refused)
    try:
        return Isolated(source, crash_after, from_plain(opened.plain), host)
    except (KeyError, TypeError, ValueError) as error:
        raise UnknownBackend(f"backend: {source!r} ({error})") from None


@cache
def _open(source: str, device: str, crash_after: float) -> tuple[Host, Opened]:
    """Return the host of a backend and what its process says. Raises UnknownBackend where nothing can be opened."""
    host = Host(source, device, crash_after)
    try:
        opened = host.open()
    except Crash as crash:
        host.close()
        said = str(crash).removeprefix("the backend ")
        raise UnknownBackend(f"backend: {source!r} (it {said} while it was loaded)") from None
    if not opened.devices:
        raise UnknownBackend(opened.refused)
    return host, opened


def _raise(error: BaseException | None) -> None:
    """Raise an error of the backend, if there is one; what is no Exception must not end this process too."""
    if isinstance(error, Exception):
        raise error
    if error is not None:
        raise Escape(error)
