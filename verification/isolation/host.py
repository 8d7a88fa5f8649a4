"""The host of a backend's process: starts it for the first request, and replaces it when it is gone."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from verification.backends.protocol import NotAsked
from verification.isolation.declared import Opened
from verification.isolation.keeper import ENDED, KILL, START, STATUS
from verification.isolation.nursery import start_keeper
from verification.isolation.served import OUR_ERROR
from verification.isolation.shipment import Reply, Request, UnreadableReply, receive_reply, send
from verification.oracle.violation import Crash, Hang

# Seconds in which a new process must be ready: loading torch and a backend is slow, and no problem is to blame for it.
_LOADING = 300.0
# A hurried look waits for `_TIMES` times as long as the slowest answer so far took, and for at least `_LEAST` seconds.
_TIMES, _LEAST = 10.0, 0.5
# Numbers of requests. The first reply of a process has 0.
_NUMBERS = count(1)


class Host:
    """The owner of a backend's process. A backend that needs longer than ``patience`` seconds to answer hangs."""

    def __init__(self, source: str, device: str, patience: float) -> None:
        self.patience = patience
        self._source, self._device = source, device
        self._slowest = 0.0
        self._control: socket.socket | None = None
        self._connection: Connection | None = None
        self._process = 0
        self._arenas = WeakValueDictionary[int, Tensor]()

    def open(self) -> Opened:
        """Return what a new process says of the backend. Raises Crash where it dies of that, and NotAsked."""
        if self._connection is not None:
            self._reap(KILL)
        opened = self._start_process()
        if opened.plain is None:
            self.close()
        return opened

    def wake(self) -> None:
        """Start the process where there is none. Raises Crash where it does not come up."""
        if self._connection is None:
            self._start_process()

    def call(self, request: Request, arena: Tensor) -> Reply:
        """Return the reply to a call, as `ask` does. ``arena`` is where `look_again` puts later changes."""
        reply = self.ask(request)
        self._arenas[reply.number] = arena
        return reply

    def look_again(self) -> None:
        """Bring those arenas up to date whose memory has changed since their call returned. Raises Crash."""
        if self._connection is None:
            return
        for number, memory in self.ask(Request()).changed.items():
            if (arena := self._arenas.get(number)) is not None:
                arena.copy_(torch.from_numpy(memory))

    def ask(self, request: Request) -> Reply:
        """Return the reply to a request. The next request gets another process where this one raises an error.

        Raises Crash where there is no reply, or more than one, and NotAsked where the backend is not to blame for it.
        """
        if self._connection is None and (refused := self._start_process().refused):
            raise NotAsked(refused)
        start = time.monotonic()
        reply = self._receive(self.patience, replace(request, number=next(_NUMBERS)))
        self._slowest = max(self._slowest, time.monotonic() - start)
        return reply

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Have less patience for a while, in proportion to the time that the backend has needed so far."""
        before = self.patience
        self.patience = min(before, max(_LEAST, _TIMES * self._slowest))
        try:
            yield
        finally:
            self.patience = before

    def renew(self) -> None:
        """Have the next request find a new process, which nothing was asked of."""
        if self._connection is not None:
            self._reap(ENDED)

    def close(self) -> None:
        """End the processes, whatever they are doing. The next request starts others."""
        if self._connection is not None:
            self._connection.close()
        if self._control is not None:
            with self._control as control, suppress(OSError):
                control.shutdown(socket.SHUT_WR)
                while control.recv(1):  # until the keeper is gone
                    pass
        self._connection = self._control = None

    def _receive(self, patience: float, request: Request | None = None) -> Reply:
        """Send ``request``, if any, and return the reply. Raises Hang where it is late, and Crash where none comes."""
        connection = self._connection
        assert connection is not None
        try:
            if request is not None:
                send(connection, request)
            if not connection.poll(patience):
                self._reap(KILL)
                raise Hang(f"the backend did not answer within {patience:g} s")
            reply = receive_reply(connection)
        except UnreadableReply as error:
            self._reap(KILL)
            raise Crash(f"the backend's process sent no answer: {error}") from None
        except (EOFError, OSError):
            raise _crash_of(os.waitstatus_to_exitcode(self._reap(ENDED))) from None
        if (reply.number, reply.process) != (request.number if request else 0, self._process):
            self._reap(KILL)
            raise Crash(f"the backend answered twice: process {reply.process} did, and {self._process} was asked")
        if reply.lost:
            self._reap(ENDED)
            raise Crash(reply.lost)
        return reply

    def _start_process(self) -> Opened:
        """Start a process and return what it says first: that it is ready to be asked, or why there is no backend."""
        try:
            if self._control is None:
                self._control = start_keeper(self._source, self._device)
            ours, theirs = Pipe()
            socket.send_fds(self._control, [START], [theirs.fileno()])
            theirs.close()
            self._connection = ours
            self._process = self._read_status()
        except OSError:
            raise self._lose_keeper() from None
        opened = self._receive(_LOADING).opened
        assert opened is not None
        return opened

    def _reap(self, wish: bytes) -> int:
        """Send ``wish``, `ENDED` or `KILL`, and return the exit status of the process that is gone then."""
        assert self._control is not None
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        try:
            self._control.sendall(wish)
            return self._read_status()
        except OSError:
            raise self._lose_keeper() from None

    def _read_status(self) -> int:
        """Return the number that the keeper sends: of a process, or an exit status. Raises OSError where none comes."""
        assert self._control is not None
        status = self._control.recv(STATUS.size)
        if len(status) < STATUS.size:
            raise ConnectionResetError
        return int(STATUS.unpack(status)[0])

    def _lose_keeper(self) -> NotAsked:
        """Forget the keeper, which is gone, and return the error that says so."""
        self.close()
        return NotAsked("the process that keeps a backend is gone: something has killed it")


def _crash_of(code: int) -> BaseException:
    """Return the error for a process that has ended with an exit code; a negative one is a signal."""
    if code == OUR_ERROR:
        return NotAsked("the process of a backend failed before or after the backend was asked")
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended its process with exit code {code}"
    return Crash(f"the backend {how}")
