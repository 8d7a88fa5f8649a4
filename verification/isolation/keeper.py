"""The process of a backend, and the one that makes it: it has loaded torch once, so that a new one takes a moment.

It is told by a socket. A file descriptor, with one byte: make a process that answers there. `ENDED` or `KILL`: it is
gone, or shall be; its status is the answer. The socket's end: so shall everything be.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
import traceback
from multiprocessing.connection import Connection

import torch

from verification.backends.flags import settle
from verification.backends.observe import ask
from verification.backends.protocol import Backend, Call
from verification.catalogue import backend_named
from verification.isolation.shipment import Reply, Request, portable, portable_answer, received, send, unpacked

START, ENDED, KILL = b"s", b"e", b"k"
STATUS = struct.Struct("i")
# The exit code of a process that failed in our own code: no crash of a backend.
OUR_ERROR = 113
# Calls that a process remembers. A law has one at a time; what is forgotten is prepared again.
_KEPT = 8
# Seconds in which a process whose connection is closed must end.
_LAST_SECONDS = 5.0


def keep(source: str, device: str, control: socket.socket) -> None:
    """Until ``control`` is closed. Nothing here, nor what is loaded here, may use CUDA: no fork could go on with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the session answers Ctrl-C
    settle()
    while True:
        wish, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not wish:
            return
        process = os.fork()
        if not process:
            control.close()
            _live(source, device, Connection(descriptors[0]))
        os.close(descriptors[0])
        wish = control.recv(1)
        status = _status(process, _LAST_SECONDS if wish == ENDED else 0.0)
        if not wish:
            return
        control.sendall(STATUS.pack(status))


def _status(process: int, seconds: float) -> int:
    """How it ended within ``seconds``; then it is killed."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return status
        if time.monotonic() >= deadline:
            os.kill(process, signal.SIGKILL)
            return os.waitpid(process, 0)[1]
        time.sleep(0.001)


def _live(source: str, device: str, connection: Connection) -> None:
    """Never returns: what is behind the fork belongs to the keeper."""
    code = OUR_ERROR
    try:
        _no_core_file()
        _serve(source, device, connection)
        code = 0
    except (EOFError, ConnectionError):  # nobody asks any more
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code & 0xFF)


def _serve(source: str, device: str, connection: Connection) -> None:
    backend = backend_named(source, device)
    calls: dict[int, Call] = {}
    send(connection, Reply(lost=_lost(device)))  # which wakes a device that sleeps: no problem shall wait for it
    reply = Reply()
    while not reply.lost:
        reply = _reply(backend, calls, received(connection))
        send(connection, reply)


def _reply(backend: Backend, calls: dict[int, Call], request: Request) -> Reply:
    try:
        if request.number not in calls:
            calls[request.number] = backend.prepare(request.problem)
    except Exception as error:
        return Reply(error=portable(error), lost=_lost(backend.device))
    if len(calls) > _KEPT:
        del calls[next(iter(calls))]
    if request.shipment is None:
        return Reply()
    try:
        answer = ask(calls[request.number], unpacked(request.shipment, backend.device))
        return Reply(portable_answer(answer))
    except Exception:  # the memory cannot be read
        if lost := _lost(backend.device):
            return Reply(lost=lost)
        raise


def _lost(device: str) -> str:
    """The CUDA error that stays until the process ends; empty where there is none."""
    try:
        if device == "cuda":
            torch.cuda.synchronize()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _no_core_file() -> None:
    import resource  # not on every system

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
