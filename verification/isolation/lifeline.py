"""Ways for a process to end with the process that started it, when that one is killed and can tell nobody."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from multiprocessing import connection, parent_process
from threading import Thread

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have Linux kill this process as soon as the thread that started it is gone, whatever this one is doing then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def leave_with_parent() -> None:
    """End this process, one of `multiprocessing`, when its parent is gone: a pipe from there closes, on any system.

    A thread waits for that, so it has to wait until the interpreter is free; on Linux `die_with_parent` does not.
    """
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def leave() -> None:
        connection.wait([sentinel])
        os._exit(1)

    Thread(target=leave, daemon=True).start()
    die_with_parent()
    if not parent.is_alive():  # since before Linux was told
        os._exit(1)
