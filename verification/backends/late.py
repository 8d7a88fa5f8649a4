"""A listener that looks once more at the memory of each call, some time after the call has returned.

A kernel may leave work behind, in a thread or on another stream, that writes when its caller reads already. The first
look, right after the call, is too early for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from verification.backends.observe import listening
from verification.backends.protocol import Call
from verification.oracle.judge import judge_memory
from verification.oracle.violation import LateWrite, Violation
from verification.problem import Problem
from verification.problem.table import TENSORS
from verification.tensors.materialize import Arena
from verification.tensors.observation import Observation
from verification.tensors.second_look import LINGER, find_changed, wait_for_device


@dataclass(frozen=True)
class _Kept:
    """A call that has returned, kept for the second look."""

    problem: Problem
    """The problem that was asked about; a law may make other calls for it."""
    observation: Observation
    returned: float
    """When, by `time.monotonic`."""


@dataclass
class Watch:
    """A listener that keeps the memory of every call, and looks at it once more when it is old enough."""

    refresh: Callable[[], None]
    """Function that brings the memory of earlier calls up to date, where they were made in another process."""
    problem: Problem | None = None
    """The problem that is being asked about."""
    _kept: list[_Kept] = field(default_factory=list)
    _found: LateWrite | None = None

    def about_to_call(self, call: Call, arena: Arena) -> None:  # noqa: ARG002
        """Take the second look at memory that is about to be used again, since this call may write there."""
        if again := [kept for kept in self._kept if kept.observation.arena.tensors.arena is arena.tensors.arena]:
            self._look_at(again)

    def called(self, call: Call, observation: Observation) -> None:  # noqa: ARG002
        problem = self.problem or observation.arena.inputs.problem
        self._kept.append(_Kept(problem, observation, time.monotonic()))

    def look(self) -> None:
        """Look at calls that are old enough. Raises LateWrite where memory has changed.

        It looks only now and then, so that many calls share the cost of one look.
        """
        now = time.monotonic()
        if self._kept and now - self._kept[0].returned >= 2 * LINGER:
            self._look_at([kept for kept in self._kept if now - kept.returned >= LINGER])
        self._tell()

    def wait(self) -> None:
        """Wait until all calls are old enough, and look at them. Raises LateWrite where memory has changed."""
        if self._kept:
            time.sleep(max(0.0, self._kept[-1].returned + LINGER - time.monotonic()))
            self._look_at(list(self._kept))
        self._tell()

    def _look_at(self, some: list[_Kept]) -> None:
        """Look at these calls for the last time. The first change that is found is kept."""
        self.refresh()
        wait_for_device(some[0].observation.arena.tensors.arena.device.type)
        for kept in some:
            self._found = self._found or _find_late_write(kept)
        self._kept = [kept for kept in self._kept if not any(kept is other for other in some)]

    def _tell(self) -> None:
        if self._found:
            raise self._found


@contextmanager
def watching(refresh: Callable[[], None]) -> Iterator[Watch]:
    """Watch the memory of all calls that are made meanwhile in this process."""
    watch = Watch(refresh)
    with listening(watch):
        yield watch


def _find_late_write(kept: _Kept) -> LateWrite | None:
    """Return the violation where the memory of a call is no longer as it was when the call returned."""
    memory, arena = kept.observation.memory, kept.observation.arena
    changed = find_changed(arena.tensors.arena, memory)
    if changed is None:
        return None
    try:
        for names in (tuple(TENSORS), ()):
            judge_memory(changed, memory, arena.spans, names)
    except Violation as violation:
        return LateWrite(str(violation), kept.problem)
    return None
