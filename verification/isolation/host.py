"""The law's side of a backend's process: it is started when it is first asked, and replaced when it is gone."""

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

from verification.isolation.keeper import ENDED, KILL, OUR_ERROR, START, STATUS
from verification.isolation.shipment import Reply, Request, received, send
from verification.oracle.violation import Crash, Hang

# The same search path as here, whatever has been done to it.
_KEEP = """\
import json, socket, sys
source, device, path, control = sys.argv[1:]
sys.path[:] = json.loads(path)
from verification.isolation.keeper import keep
keep(source, device, socket.socket(fileno=int(control)))
"""
# Seconds that loading torch and the backend may take, which no problem is to blame for.
_LOADING = 300.0
# A hurried look waits for this many times the slowest answer so far, and at least so many seconds.
_TIMES, _LEAST = 10.0, 0.5


class Host:
    """``patience``: seconds in which a backend answers, or hangs."""

    def __init__(self, source: str, device: str, patience: float) -> None:
        self.patience = patience
        self._source, self._device = source, device
        self._slowest = 0.0
        self._keeper: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._connection: Connection | None = None

    def ask(self, request: Request) -> Reply:
        """Raises Crash where there is no answer, and has another process for the next request."""
        connection = self._connection or self._process()
        start = time.monotonic()
        reply = self._reply(connection, self.patience, request)
        self._slowest = max(self._slowest, time.monotonic() - start)
        return reply

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Less patience, by what the backend has needed so far."""
        before = self.patience
        self.patience = min(before, max(_LEAST, _TIMES * self._slowest))
        try:
            yield
        finally:
            self.patience = before

    def close(self) -> None:
        """Its processes end, at whatever they are."""
        for end in (self._connection, self._control):
            if end is not None:
                end.close()
        self._connection = self._control = None
        if self._keeper is not None:
            self._keeper.wait()

    def _reply(self, connection: Connection, patience: float, request: Request | None = None) -> Reply:
        try:
            if request is not None:
                send(connection, request)
            if not connection.poll(patience):
                self._ended(KILL)
                raise Hang(f"the backend did not answer within {patience:g} s")
            reply: Reply = received(connection)
        except (EOFError, OSError):
            raise _crash(os.waitstatus_to_exitcode(self._ended(ENDED))) from None
        if reply.lost:
            self._ended(ENDED)
            raise Crash(f"the backend's device is lost: {reply.lost}")
        return reply

    def _process(self) -> Connection:
        if self._control is None:
            self._control = self._begin()
        ours, theirs = Pipe()
        socket.send_fds(self._control, [START], [theirs.fileno()])
        theirs.close()
        self._connection = ours
        self._reply(ours, _LOADING)
        return ours

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        arguments = (self._source, self._device, json.dumps(sys.path), str(theirs.fileno()))
        self._keeper = subprocess.Popen(
            [sys.executable, "-c", _KEEP, *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # what a backend prints is none of our reports
        )
        theirs.close()
        return ours

    def _ended(self, wish: bytes) -> int:
        """The status of the process that is gone, or will be."""
        assert self._control is not None
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._control.sendall(wish)
        status = self._control.recv(STATUS.size)
        if len(status) < STATUS.size:
            raise RuntimeError("the process that keeps a backend is gone")
        return int(STATUS.unpack(status)[0])


def _crash(code: int) -> Exception:
    if code == OUR_ERROR:
        return RuntimeError("the process of a backend failed before or after the backend was asked")
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended its process with exit code {code}"
    return Crash(f"the backend {how}")
