"""The keeper of a backend, which forks its process, so that a new one takes a moment, and ends it.

Commands arrive on a socket. `START` with a file descriptor: fork a process that serves requests on the descriptor, and
reply with its number. `ENDED`: wait until that process has ended by itself, kill it if it takes too long, and reply
with its exit status. `KILL`: kill it at once, and reply likewise. End of file: whoever asks is gone; kill it and exit.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from select import select

from verification.isolation.served import run_process

START, ENDED, KILL = b"s", b"e", b"k"
STATUS = struct.Struct("i")
# Seconds that a process has to end by itself once its connection is closed.
_LAST_SECONDS = 5.0


def keep(source: str, device: str, control: socket.socket) -> None:
    """Obey the commands on ``control`` until it is closed."""
    while True:
        try:
            wish, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        except ConnectionError:
            return
        if not wish:
            return
        process = os.fork()
        if not process:
            control.close()
            run_process(source, device, Connection(descriptors[0]))
        os.close(descriptors[0])
        try:
            control.sendall(STATUS.pack(process))
            wish = control.recv(1)
        except ConnectionError:
            wish = b""
        status = _end(process, _LAST_SECONDS if wish == ENDED else 0.0, control)
        if not wish:
            return
        with suppress(ConnectionError):  # which the next command tells
            control.sendall(STATUS.pack(status))


def _end(process: int, seconds: float, control: socket.socket) -> int:
    """Return the exit status of ``process``, which is killed if it has not ended within ``seconds``, or if nobody waits
    for it any more. Whatever it has forked is killed with it.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not hasattr(os, "waitid"):  # on macOS before Python 3.13, where its forks are left to themselves
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                return status
        elif os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        if select([control], [], [], 0.001)[0]:  # closed: no other command comes before the reply
            break
    for kill in (os.kill, os.killpg):  # as long as it is not waited for, its number is nobody else's
        with suppress(ProcessLookupError, PermissionError):
            kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]
