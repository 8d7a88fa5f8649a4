"""The host of a backend's process: starts it for the first request, and replaces it when it is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from verification.isolation.keeper import ENDED, KILL, OUR_ERROR, START, STATUS
from verification.isolation.shipment import Reply, Request, receive, send
from verification.oracle.violation import Crash, Hang

# The program of a keeper, on the search path of this process, whatever has been done to that.
_KEEP = """\
import json, socket, sys
source, device, path, control = sys.argv[1:]
sys.path[:] = json.loads(path)
from verification.isolation.keeper import keep
keep(source, device, socket.socket(fileno=int(control)))
"""
# Seconds in which a new process must be ready: loading torch and a backend is slow, and no problem is to blame for it.
_LOADING = 300.0
# A hurried look waits for `_TIMES` times as long as the slowest answer so far took, and for at least `_LEAST` seconds.
_TIMES, _LEAST = 10.0, 0.5


class Host:
    """The owner of a backend's process. A backend that needs longer than ``patience`` seconds to answer hangs."""

    def __init__(self, source: str, device: str, patience: float) -> None:
        self.patience = patience
        self._source, self._device = source, device
        self._slowest = 0.0
        self._keeper: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._connection: Connection | None = None
        self._arenas = WeakValueDictionary[int, Tensor]()

    def call(self, request: Request, arena: Tensor) -> Reply:
        """Return the reply to a call, as `ask` does. ``arena`` is where `look_again` puts later changes."""
        self._arenas[request.call] = arena
        return self.ask(request)

    def look_again(self) -> None:
        """Bring those arenas up to date whose memory has changed since their call returned. Raises Crash."""
        if self._connection is None:
            return
        for call, memory in self.ask(Request(0, None)).changed.items():
            if (arena := self._arenas.get(call)) is not None:
                arena.copy_(torch.from_numpy(memory))

    def ask(self, request: Request) -> Reply:
        """Return the reply to a request. Raises Crash where there is none; the next request gets another process."""
        connection = self._connection or self._start_process()
        start = time.monotonic()
        reply = self._receive(connection, self.patience, request)
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

    def close(self) -> None:
        """End the processes, whatever they are doing."""
        for end in (self._connection, self._control):
            if end is not None:
                end.close()
        self._connection = self._control = None
        if self._keeper is not None:
            self._keeper.wait()

    def _receive(self, connection: Connection, patience: float, request: Request | None = None) -> Reply:
        """Send ``request``, if any, and return the reply. Raises Hang where it is late, and Crash where none comes."""
        try:
            if request is not None:
                send(connection, request)
            if not connection.poll(patience):
                self._reap(KILL)
                raise Hang(f"the backend did not answer within {patience:g} s")
            reply: Reply = receive(connection)
        except (EOFError, OSError):
            raise _crash_of(os.waitstatus_to_exitcode(self._reap(ENDED))) from None
        if reply.lost:
            self._reap(ENDED)
            raise Crash(f"the backend's device is lost: {reply.lost}")
        return reply

    def _start_process(self) -> Connection:
        """Return the connection to a new process that is ready to be asked."""
        if self._control is None:
            self._control = self._start_keeper()
        ours, theirs = Pipe()
        socket.send_fds(self._control, [START], [theirs.fileno()])
        theirs.close()
        self._connection = ours
        self._receive(ours, _LOADING)
        return ours

    def _start_keeper(self) -> socket.socket:
        """Return the socket on which a new keeper takes commands."""
        ours, theirs = socket.socketpair()
        arguments = (self._source, self._device, json.dumps(sys.path), str(theirs.fileno()))
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", _KEEP, *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # to stderr: a backend's prints must not mix with reports
        )
        theirs.close()
        return ours

    def _reap(self, wish: bytes) -> int:
        """Send ``wish``, `ENDED` or `KILL`, and return the exit status of the process that is gone then."""
        assert self._control is not None
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._control.sendall(wish)
        status = self._control.recv(STATUS.size)
        if len(status) < STATUS.size:
            raise RuntimeError("the process that keeps a backend is gone")
        return int(STATUS.unpack(status)[0])


def _crash_of(code: int) -> Exception:
    """Return the error for a process that has ended with an exit code; a negative one is a signal."""
    if code == OUR_ERROR:
        return RuntimeError("the process of a backend failed before or after the backend was asked")
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended its process with exit code {code}"
    return Crash(f"the backend {how}")
