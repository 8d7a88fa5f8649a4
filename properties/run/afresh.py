"""Failures asked again in a fresh process: do they stand alone, need the calls before them, or come and go?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from properties.laws.law import Law
from verification.backends.observe import observe
from verification.backends.protocol import Backend, Call
from verification.catalogue import UnknownBackend, make_anew
from verification.isolation.isolated import Isolated
from verification.oracle.violation import Crash
from verification.problem import Problem
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import Arena
from verification.tensors.observation import Observation

NOT_REPEATABLE = "not repeatable"
# Calls that are remembered of the beginning of a process, and as many of its latest.
_REMEMBERED = 256
# Times that a failure is asked again where it does not break at once.
_TIMES = 5
# Lists of calls that are tried, each in a fresh process, which takes some 30 ms.
_TRIES = 120


@dataclass
class History:
    """A listener that keeps the problems of a process's calls, each once where it was asked several times in a row."""

    first: list[Problem] = field(default_factory=list)
    last: deque[Problem] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def about_to_call(self, call: Call, arena: Arena) -> None:
        """Do nothing: a call is kept when it has returned."""

    def called(self, call: Call, observation: Observation) -> None:  # noqa: ARG002 (of a call only its problem is kept)
        problem = observation.arena.inputs.problem
        if self.last and self.last[-1] == problem:
            return
        self.last.append(problem)
        if len(self.first) < _REMEMBERED:
            self.first.append(problem)

    def excerpts(self) -> Iterator[tuple[Problem, ...]]:
        """Yield lists of calls that may have left something behind: the latest and the first ones, ever more."""
        length = 1
        while True:
            yield tuple(self.last)[-length:]
            yield tuple(self.first[:length])
            if length >= max(len(self.first), len(self.last)):
                return
            length *= 2


def make_afresh(backend: Backend, source: str) -> Backend:
    """Return the backend as if it had never been called: in a new process where it has one of its own.

    In our own process, where it is trusted, it is made anew: what its module keeps besides stays as it is.
    """
    if isinstance(backend, Isolated):
        backend.host.renew()
        return backend
    with suppress(UnknownBackend):
        return make_anew(source, backend.device)
    return backend  # one that has no name, as in a test


def breaks_after(before: Sequence[Problem], law: Law, problem: Problem, backend: Backend, source: str) -> bool:
    """Return True if the law breaks where a fresh backend was called with each of ``before`` first."""
    return law.breaks(call_before(before, backend, source), problem)


def call_before(before: Sequence[Problem], backend: Backend, source: str) -> Backend:
    """Return a fresh backend that has been called with each of ``before``, whatever came of it."""
    fresh = make_afresh(backend, source)
    make_calls(before, fresh)
    return fresh


def make_calls(problems: Sequence[Problem], backend: Backend) -> None:
    """Call the backend with each of the problems, whatever comes of it."""
    for problem in problems:
        with suppress(Crash):
            observe(backend, make_inputs(problem))


@dataclass(frozen=True)
class Repeated:
    """Outcome of asking a failure again."""

    before: tuple[Problem, ...] = ()
    """The calls that must come before it, so that it breaks in a fresh process."""
    note: str = ""
    """Words about a failure that comes and goes; empty for one that always breaks."""


def repeat(
    law: Law, problem: Problem, backend: Backend, source: str, history: History, stop: Callable[[], bool]
) -> Repeated:
    """Ask the law again in a fresh process, and look for the calls that it needs where it holds there."""

    def breaks(before: Sequence[Problem]) -> bool:
        return not stop() and breaks_after(before, law, problem, backend, source)

    excerpts = ((problem,), *history.excerpts())  # before the calls that are made here
    with _kept(history, backend):
        again = [breaks(()) for _ in range(2)]
        if all(again):
            return Repeated()
        if not any(again):
            found = next((calls for calls in excerpts if breaks(calls) and breaks(calls)), None)
            if found is not None:
                return Repeated(_make_few(found, breaks))
        again += [breaks(()) for _ in range(_TIMES - len(again))]
    if all(again) or stop():
        return Repeated()
    return Repeated(note=f"{NOT_REPEATABLE}, it broke {sum(again)} of {len(again)} times it was asked again")


@contextmanager
def _kept(history: History, backend: Backend) -> Iterator[None]:
    """Leave the history as it was; empty where the backend's process is another one since."""
    first, last = history.first[:], tuple(history.last)
    try:
        yield
    finally:
        if isinstance(backend, Isolated):
            backend.host.renew()
            first, last = [], ()
        history.first[:] = first
        history.last.clear()
        history.last.extend(last)


def _make_few(calls: tuple[Problem, ...], breaks: Callable[[Sequence[Problem]], bool]) -> tuple[Problem, ...]:
    """Return a list of which no call can be left out: halves are left out first, then quarters, then single ones."""
    left, size = _TRIES, max(1, len(calls) // 2)
    while left > 0:
        for start in range(0, len(calls), size):
            fewer = calls[:start] + calls[start + size :]
            left -= 1
            if fewer and breaks(fewer):
                calls = fewer
                break
            if left <= 0:
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return calls
