"""The keeper, which has loaded torch once and forks the process of a backend, so that a new one takes a moment.

Commands arrive on a socket. `START` with a file descriptor: fork a process that serves requests on the descriptor.
`ENDED`: wait until that process has ended by itself, kill it if it takes too long, and reply with its exit status.
`KILL`: kill it at once, and reply likewise. End of file: kill it and exit.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
import traceback
from collections import deque
from multiprocessing.connection import Connection

import torch
from torch import Tensor

from verification.backends.flags import settle
from verification.backends.observe import ask
from verification.backends.protocol import Backend, Call
from verification.catalogue import backend_named
from verification.isolation.shipment import Reply, Request, make_answer_portable, make_portable, receive, send, unpack
from verification.tensors.arena import Bytes
from verification.tensors.second_look import LINGER, find_changed, wait_for_device

START, ENDED, KILL = b"s", b"e", b"k"
STATUS = struct.Struct("i")
# Exit code of a process that failed in our own code, which is no crash of a backend: any that backends do not use.
OUR_ERROR = 113
# Prepared calls that a process remembers. A law needs one at a time, and a forgotten one is prepared again.
_KEPT = 8
# Calls whose memory a process keeps for the second look, so many that a look every 0.1 s misses none; and for how long.
_REMEMBERED, _FORGOTTEN_AFTER = 256, 10 * LINGER
# Seconds that a process has to end by itself once its connection is closed.
_LAST_SECONDS = 5.0


def keep(source: str, device: str, control: socket.socket) -> None:
    """Obey the commands on ``control`` until it is closed.

    Nothing here, nor any module that is loaded here, may use CUDA: a fork cannot go on with an open device.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the session answers Ctrl-C
    settle()
    while True:
        wish, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not wish:
            return
        process = os.fork()
        if not process:
            control.close()
            _run_process(source, device, Connection(descriptors[0]))
        os.close(descriptors[0])
        wish = control.recv(1)
        status = _wait_for(process, _LAST_SECONDS if wish == ENDED else 0.0)
        if not wish:
            return
        control.sendall(STATUS.pack(status))


def _wait_for(process: int, seconds: float) -> int:
    """Return the exit status of ``process``, which is killed if it has not ended within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return status
        if time.monotonic() >= deadline:
            os.kill(process, signal.SIGKILL)
            return os.waitpid(process, 0)[1]
        time.sleep(0.001)


def _run_process(source: str, device: str, connection: Connection) -> None:
    """Serve requests and exit. Never returns: the code after the fork belongs to the keeper."""
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
    """Reply to requests until the device is lost. Raises EOFError when nobody asks any more."""
    backend = backend_named(source, device)
    calls: dict[int, Call] = {}
    memory = _Memory()
    # This also wakes a device that sleeps, so that no problem has to wait for it.
    send(connection, Reply(lost=_lost_device(device)))
    reply = Reply()
    while not reply.lost:
        reply = _answer(backend, calls, memory, receive(connection))
        send(connection, reply)


class _Memory:
    """The memory of the latest calls, as it was when they returned."""

    def __init__(self) -> None:
        self._kept = deque[tuple[float, int, Tensor, Bytes]](maxlen=_REMEMBERED)

    def keep(self, call: int, arena: Tensor, memory: Bytes) -> None:
        """Keep the arena of a call, and forget those that nobody has asked about for long."""
        now = time.monotonic()
        while self._kept and now - self._kept[0][0] > _FORGOTTEN_AFTER:
            self._kept.popleft()
        self._kept.append((now, call, arena, memory))

    def look(self) -> dict[int, Bytes]:
        """Return what has changed since, by the number of the call; forget what is old enough."""
        if self._kept:
            wait_for_device(self._kept[0][2].device.type)
        now = time.monotonic()
        looked = [(call, find_changed(arena, memory)) for _, call, arena, memory in self._kept]
        while self._kept and now - self._kept[0][0] >= LINGER:
            self._kept.popleft()
        return {call: changed for call, changed in looked if changed is not None}


def _answer(backend: Backend, calls: dict[int, Call], memory: _Memory, request: Request) -> Reply:
    """Return the reply to a request. ``calls`` are those that are prepared, by number."""
    if request.problem is None:
        return Reply(changed=memory.look())
    try:
        if request.number not in calls:
            calls[request.number] = backend.prepare(request.problem)
    except Exception as error:
        return Reply(error=make_portable(error), lost=_lost_device(backend.device))
    if len(calls) > _KEPT:
        del calls[next(iter(calls))]
    if request.shipment is None:
        return Reply()
    try:
        tensors = unpack(request.shipment, backend.device)
        answer = ask(calls[request.number], tensors)
        memory.keep(request.call, tensors.arena, answer.memory)
        return Reply(make_answer_portable(answer))
    except Exception:  # the arena's memory could not be read
        if lost := _lost_device(backend.device):
            return Reply(lost=lost)
        raise


def _lost_device(device: str) -> str:
    """Return the CUDA error that stays until the process ends; empty where there is none."""
    try:
        if device == "cuda":
            torch.cuda.synchronize()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _no_core_file() -> None:
    import resource  # which not every system has

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
