"""Memory of what was made of one problem, for the laws that are asked about it one after the other.

Most laws begin with the same call: `make_inputs`, `observe` and `expected_from` look here whether it was made already.
So a law is written, read and called alone as if there were no such memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from verification.problem import Problem

Made = TypeVar("Made")


@dataclass(eq=False)
class Shared:
    """One problem, the backend that is asked about it, and what was made of both by now."""

    problem: Problem
    backend: object
    made: dict[str, Any] = field(default_factory=dict)
    """By name: the inputs as the problem has them, the answer to these, and the right answer."""

    def recall(self, name: str, make: Callable[[], Made]) -> Made:
        """Return what was made under that name; it is made, and kept, where there is none. An error is not kept."""
        if name not in self.made:
            self.made[name] = make()
        found: Made = self.made[name]
        return found


_open: list[Shared] = []


@contextmanager
def sharing(shared: Shared | None) -> Iterator[None]:
    """Let what is made meanwhile of this problem, in this process, be made once."""
    if shared is None:
        yield
        return
    _open.append(shared)
    try:
        yield
    finally:
        _open.remove(shared)


def find_shared(problem: Problem) -> Shared | None:
    """Return the memory of a problem: of this very object, since laws make others that differ in little."""
    return _open[-1] if _open and _open[-1].problem is problem else None


def find_asked(backend: object, inputs: Any) -> Shared | None:
    """Return the memory of a problem if ``backend`` is the one that is asked, as a law wraps it, and ``inputs`` are as
    the problem has them; a law replaces some of them for its other calls.
    """
    shared = find_shared(inputs.problem)
    if shared is None or shared.made.get("inputs") is not inputs:
        return None
    is_asked = backend is shared.backend or getattr(backend, "inner", None) is shared.backend
    return shared if is_asked else None
