"""The process of a backend: it opens the backend, says what that declares, and answers requests."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from select import select
from typing import NoReturn

from verification.backends.devices import tell_lost
from verification.backends.observe import ask
from verification.backends.protocol import Backend, Call
from verification.catalogue import UnknownBackend, backend_named, devices_of
from verification.isolation.declared import Opened, to_plain
from verification.isolation.lifeline import die_with_parent
from verification.isolation.remembered import Remembered
from verification.isolation.shipment import Reply, Request, make_answer_portable, make_portable, receive, send, unpack

# Exit code of a process that failed in our own code, which is no crash of a backend: any that backends do not use.
OUR_ERROR = 113
# Prepared calls that a process remembers. A law needs one at a time, and a forgotten one is prepared again.
_KEPT = 8
# Seconds in which a fork that a call has made may come back as the call does. Few fork, and those wait for their forks.
_COMING_BACK = 1.0


class _Forks:
    """Tells whether a call has come back in this process and in a fork of it as well."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._made = False
        self._read, self._write = os.pipe()
        os.register_at_fork(after_in_parent=self._count)

    def _count(self) -> None:
        self._made = True

    def leave(self) -> None:
        """End this process if it is a fork, and tell the first one."""
        if os.getpid() != self.process:
            os.write(self._write, b"f")
            os._exit(0)

    def came_back(self) -> bool:
        """Return True if a fork did as well. Where the call has forked there is a moment for it to do so."""
        seconds, self._made = (_COMING_BACK if self._made else 0.0), False
        return bool(select([self._read], [], [], seconds)[0])


def run_process(source: str, device: str, connection: Connection) -> NoReturn:
    """Serve requests and exit: the code after the fork belongs to the keeper."""
    code = OUR_ERROR
    try:
        os.setpgid(0, 0)  # so that its own forks can be ended with it
        die_with_parent()  # its keeper
        _no_core_file()
        _serve(source, device, connection)
        code = 0
    except (EOFError, ConnectionError):  # nobody asks any more
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _serve(source: str, device: str, connection: Connection) -> None:
    """Reply to requests until the device is lost. Raises EOFError when nobody asks any more."""
    forks = _Forks()
    backend, opened = _open(source, device)
    forks.leave()
    # This also wakes a device that sleeps, so that no problem has to wait for it.
    send(connection, Reply(process=forks.process, opened=opened, lost=_lost_device(device) if backend else ""))
    if backend is None:
        return
    calls: dict[int, Call] = {}
    remembered = Remembered()
    reply = Reply()
    while not reply.lost:
        request: Request = receive(connection)
        reply = _answer(backend, calls, remembered, request)
        forks.leave()
        if forks.came_back():
            reply = Reply(lost="the backend answered twice: a call forked its process, and came back in both")
        send(connection, replace(reply, number=request.number, process=forks.process))


def _open(source: str, device: str) -> tuple[Backend | None, Opened]:
    """Return the backend, and what there is to say of it, or of why there is none."""
    try:
        backend = backend_named(source, device)
        return backend, Opened(devices_of(source), plain=to_plain(backend))
    except UnknownBackend as error:
        refused = str(error)
    except Exception as error:  # of a backend's `on`, or of its declaration
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return None, Opened(refused=f"backend: {source!r} ({said})")
    try:
        return None, Opened(devices_of(source), refused)
    except UnknownBackend:  # it cannot be made at all
        return None, Opened(refused=refused)


def _answer(backend: Backend, calls: dict[int, Call], remembered: Remembered, request: Request) -> Reply:
    """Return the reply to a request. ``calls`` are those that are prepared, by number."""
    if request.problem is None or request.shipment is None:
        return Reply(changed=remembered.look())
    try:
        if request.call not in calls:
            calls[request.call] = backend.prepare(request.problem)
    except BaseException as error:  # no Ctrl-C: a keeper's process ignores it
        return Reply(error=make_portable(error), lost=_lost_device(backend.device))
    if len(calls) > _KEPT:
        del calls[next(iter(calls))]
    try:
        tensors = unpack(request.shipment, backend.device)
        answer = ask(calls[request.call], tensors)
        remembered.keep(request.number, tensors.arena, answer.memory)
        return Reply(answer=make_answer_portable(answer))
    except Exception:  # the arena's memory could not be read
        if lost := _lost_device(backend.device):
            return Reply(lost=lost)
        raise


def _lost_device(device: str) -> str:
    """Return that the device is lost with the CUDA error, which stays until the process ends; empty where it is not."""
    lost = tell_lost(device)
    return f"the backend's device is lost: {lost}" if lost else ""


def _no_core_file() -> None:
    import resource  # which not every system has

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
