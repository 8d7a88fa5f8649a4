"""A pool of worker processes. One that dies costs the task that it had, and another takes its place."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from properties.run.serve import Reply, serve
from properties.run.worker import AtWork, Done, Task
from verification.backends.protocol import NotAsked
from verification.isolation.nursery import share_nursery

StartMethod = Literal["fork", "spawn"]
# Seconds between two looks at whether a worker is still there: a fork that a kernel has made may hold its connection.
_LOOK = 1.0
# Seconds that a worker has to end once it is told to.
_LAST_SECONDS = 1.0


@dataclass(frozen=True)
class Death:
    """The end of a worker process, or of its device, before it handed over its task."""

    process: int
    how: str
    """As "died of SIGKILL"."""


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    selector: str = ""
    """The device that the process has, where there are several."""
    task: Task | None = None
    last: Task | None = None
    """The latest task that it was given."""


class Pool:
    """Up to ``count`` processes, each started when there is a task for it, forked or spawned.

    None of them outlives this process. They share the devices out among them, each of which is named by its
    `Device.selector`; a process has one.
    """

    def __init__(self, count: int, start_method: StartMethod = "spawn", selectors: Sequence[str] = ()) -> None:
        self._count, self._selectors = count, selectors
        self._workers: list[_Worker] = []
        self._context: Any = multiprocessing.get_context(start_method)
        self._stop, self._ready = self._context.Event(), self._context.Event()

    @property
    def has_room(self) -> bool:
        """Return True if a process is free, or may be started."""
        return sum(worker.task is not None for worker in self._workers) < self._count

    @property
    def is_ready(self) -> bool:
        """Return True once a process can ask a backend its first problem."""
        return bool(self._ready.is_set())

    @property
    def is_busy(self) -> bool:
        """Return True if a process has a task."""
        return any(worker.task for worker in self._workers)

    def at_work(self) -> AtWork:
        """Return what the process did last that gets the next task, and what the others do."""
        free = self._find_free()
        return AtWork(free.last if free else None, tuple(worker.task for worker in self._workers if worker.task))

    def _find_free(self) -> _Worker | None:
        return next((worker for worker in self._workers if worker.task is None), None)

    def give(self, task: Task) -> None:
        """Give a task to a free process."""
        worker = self._find_free() or self._start()
        worker.task = worker.last = task
        with suppress(OSError):  # it is dead, which `wait` tells
            worker.connection.send(task)

    def wait(self, seconds: float) -> Iterator[tuple[Task, Done | Death]]:
        """Yield the tasks that ended within so many seconds, as soon as one has, each with what came of it.

        Raises the exception that a task raised.
        """
        deadline = time.monotonic() + seconds
        while True:
            busy = [worker for worker in self._workers if worker.task]
            rest = min(_LOOK, max(0.0, deadline - time.monotonic()))
            ready = connections.wait([worker.connection for worker in busy], rest)
            ended = [worker for worker in busy if worker.connection in ready or not worker.process.is_alive()]
            if ended or time.monotonic() >= deadline:
                yield from map(self._take, ended)
                return

    def stop(self) -> None:
        """Tell all processes to hand over what they have."""
        self._stop.set()

    def end(self) -> None:
        """End all processes, whatever they are doing."""
        self.stop()
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers:
            _await_end(worker.process)
        self._workers.clear()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        nursery = share_nursery()
        selector = self._next_selector()
        process = self._context.Process(target=serve, args=(theirs, self._stop, self._ready, nursery, selector))
        with _interrupts_held():
            process.start()
        theirs.close()
        if nursery is not None:
            nursery.close()
        self._workers.append(_Worker(process, ours, selector))
        return self._workers[-1]

    def _next_selector(self) -> str:
        """Return the device that the fewest processes have, the first of several."""
        taken = [worker.selector for worker in self._workers]
        return min(self._selectors, key=taken.count, default="")

    def _take(self, worker: _Worker) -> tuple[Task, Done | Death]:
        """Return the task of a worker and its outcome. Raises the exception that the task raised."""
        task = worker.task
        assert task is not None
        try:
            if not worker.connection.poll():  # it is dead, and something of it still holds the connection
                raise EOFError
            reply: Reply = worker.connection.recv()
        except (EOFError, OSError):
            self._let_go(worker)
            return task, Death(worker.process.pid or 0, _describe_end(worker.process.exitcode or 0))
        worker.task, outcome = None, reply.outcome
        if reply.lost:
            self._let_go(worker)
            if isinstance(outcome, BaseException):
                return task, Death(worker.process.pid or 0, f"lost its device: {reply.lost}")
        if isinstance(outcome, NotAsked):
            return task, Death(worker.process.pid or 0, f"could not ask a backend: {outcome}")
        if isinstance(outcome, BaseException):
            raise outcome
        return task, outcome

    def _let_go(self, worker: _Worker) -> None:
        """Forget a process that has ended, or is about to."""
        self._workers.remove(worker)
        worker.connection.close()
        _await_end(worker.process)


def _await_end(process: BaseProcess) -> None:
    """Wait until a process has ended, which is killed where that takes too long."""
    process.join(_LAST_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def _describe_end(code: int) -> str:
    """Return how a process ended, by its exit code; a negative one is a signal."""
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C while a worker may be started. The worker inherits that: a person's Ctrl-C, which goes to the
    whole group, must not end it before it could say that the session answers.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
