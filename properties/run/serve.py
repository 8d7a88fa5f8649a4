"""The loop of a worker process: tasks come, and what came of each goes back."""

from __future__ import annotations

import os
import pickle
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from socket import socket

from properties.run.worker import Done, Task, init_worker, run_task
from verification.backends.devices import VISIBLE, is_awake, tell_lost
from verification.backends.protocol import NotAsked
from verification.isolation.lifeline import leave_with_parent
from verification.isolation.nursery import adopt
from verification.isolation.shipment import make_portable


@dataclass(frozen=True)
class Reply:
    """Reply of a worker to a task."""

    outcome: Done | BaseException
    """What came of the task, or the error that it raised."""
    lost: str = ""
    """The CUDA error with which the worker has lost its device. Then nobody gives it another task."""


def serve(connection: Connection, stop: Event, ready: Event, nursery: socket | None, selector: str = "") -> None:
    """Do the tasks that arrive, each with a `Reply`, until nobody gives any more.

    ``nursery`` is the one that the session shares, if it has any. ``selector`` names the device that this process has,
    where there are several. The process ends when the session is killed.
    """
    if selector:
        os.environ[VISIBLE] = selector  # which CUDA reads when it is called first
    leave_with_parent()
    os.dup2(2, 1)  # whatever a kernel prints, of C too, goes to standard error: standard output is for reports
    adopt(nursery)
    init_worker(stop, ready)
    process = os.getpid()
    with suppress(EOFError, ConnectionError):
        while True:
            task: Task = connection.recv()
            outcome = _attempt(task)
            if os.getpid() != process:  # a fork that a kernel has made, and that came back as the worker does
                os._exit(0)
            lost = tell_lost(task.device) if is_awake() else ""
            connection.send(Reply(outcome, lost))


def _attempt(task: Task) -> Done | BaseException:
    """Return what came of a task, or the error that it raised, which can be sent."""
    try:
        return run_task(task)
    except NotAsked as error:
        return error
    except BaseException as error:  # no Ctrl-C, which a worker ignores
        made: BaseException = (
            error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        )
        try:
            pickle.loads(pickle.dumps(made))
        except Exception:
            made = make_portable(made)
        made.add_note(traceback.format_exc())
        return made
