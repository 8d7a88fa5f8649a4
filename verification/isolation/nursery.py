"""The nursery, a process that has loaded torch once and forks the keepers of backends: one for all processes of a run.

It reads sockets from a socket. With `KEEP` comes the socket of a new keeper, with `SHARE` that of another process, for
which a fork of the nursery is the nursery from then on. A nursery ends where the other end of its socket is closed,
whether its process ended or was killed.

This module imports torch where a nursery needs it: who starts one need not have loaded it yet.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

KEEP, SHARE = b"k", b"n"
# The program of a nursery, on the search path of this process, whatever has been done to that.
_PROGRAM = """\
import json, socket, sys
path, root = sys.argv[1:]
sys.path[:] = json.loads(path)
from verification.isolation.nursery import tend
tend(socket.socket(fileno=int(root)))
"""
_LENGTH = struct.Struct("!I")


class _Known:
    """The nursery that this process knows."""

    root: socket.socket | None = None
    program: subprocess.Popen[bytes] | None = None


def start_early() -> None:
    """Start the nursery before it is needed, so that it loads torch while this process does."""
    if _Known.root is None:
        _Known.root = _start()


def start_keeper(source: str, device: str) -> socket.socket:
    """Return the socket on which a new keeper takes commands."""
    ours, theirs = socket.socketpair()
    with theirs:
        _hand_over(KEEP, theirs)
    told = json.dumps([source, device, str(Path.cwd()), sys.path, dict(os.environ)]).encode()
    ours.sendall(_LENGTH.pack(len(told)) + told)
    return ours


def share_nursery() -> socket.socket | None:
    """Return the socket of a nursery for another process, `adopt`; None where this process has none itself."""
    if _Known.root is None:
        return None
    ours, theirs = socket.socketpair()
    with theirs:
        _hand_over(SHARE, theirs)
    return ours


def adopt(root: socket.socket | None) -> None:
    """Let this process have the nursery that another one shares."""
    _Known.root = root


def _hand_over(wish: bytes, end: socket.socket) -> None:
    """Send a socket to the nursery, which is started where there is none, or where it was killed."""
    if _Known.root is not None:
        try:
            socket.send_fds(_Known.root, [wish], [end.fileno()])
            return
        except OSError:
            _Known.root.close()
    _Known.root = _start()
    socket.send_fds(_Known.root, [wish], [end.fileno()])


def _start() -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        _Known.program = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=2,  # to stderr: a backend's prints must not mix with reports
        )
    return ours


def tend(root: socket.socket) -> None:
    """Fork a keeper, or a nursery, for each socket that arrives on ``root``, until that is closed.

    Nothing here, nor any module that is loaded here, may use CUDA: a fork cannot go on with an open device.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the session answers Ctrl-C
    from verification.backends import kernels  # noqa: F401 (which adapters stand on: a fork has loaded it already)
    from verification.backends.flags import settle
    from verification.isolation.keeper import keep

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    settle()
    while True:
        wish, descriptors, _, _ = socket.recv_fds(root, 1, 1)
        if not wish:
            return
        given = socket.socket(fileno=descriptors[0])
        if os.fork():
            given.close()
            continue
        root.close()
        if wish == SHARE:
            root = given
            continue
        _run_keeper(given, keep)


def _run_keeper(control: socket.socket, keep: Callable[[str, str, socket.socket], None]) -> NoReturn:
    """Keep the backend that is named on ``control``, and exit. Folder, search path and environment are those of who
    asks: a worker names its device there.
    """
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a keeper waits for its processes
        [length] = _LENGTH.unpack(_read_exactly(control, _LENGTH.size))
        source, device, folder, path, environment = json.loads(_read_exactly(control, length))
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = path
        importlib.invalidate_caches()
        keep(source, device, control)
    except (EOFError, ConnectionError):  # nobody asks any more
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _read_exactly(control: socket.socket, size: int) -> bytes:
    """Return so many bytes and no more, since a file descriptor may come with the next. Raises EOFError."""
    held = b""
    while len(held) < size:
        part = control.recv(size - len(held))
        if not part:
            raise EOFError
        held += part
    return held
