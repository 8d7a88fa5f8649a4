"""The exceptions that are raised where a law is broken."""

from __future__ import annotations

from verification.oracle.difference import Difference
from verification.problem import Problem
from verification.problem.printable import printable

LATE = "memory was written after the call had returned"


class BadOutput(TypeError):
    """Raised for a returned object that is no answer, such as a tuple; the message names the output and the rule."""


class Violation(AssertionError):
    """A law broken by a backend on a problem. ``difference`` says how an output is wrong, if one is.

    The message may quote what foreign code says: here it becomes `printable`. Where the kernel raised, ``raised`` names
    the exception and its line, as `frames.name_error` does, and ``frames`` are the kernel's own. Where it returned
    something else than tensors, ``raised`` is what is said of that; where it wrote to memory after it had returned, it
    is `LATE`.
    """

    def __init__(
        self, message: str, difference: Difference | None = None, *, raised: str = "", frames: tuple[str, ...] = ()
    ) -> None:
        super().__init__(printable(message if difference is None else f"{message}\n  {difference.worst}"))
        self.difference = difference
        self.raised = printable(raised)
        self.frames = tuple(map(printable, frames))


class Crash(Violation):
    """A violation of every law: the backend's process died, and no law holds where there is no answer."""


class Hang(Crash):
    """A crash without an answer in time. It has a class of its own, since every look at it costs that time."""


class LateWrite(Violation):
    """A violation of every law: memory changed after the call had returned. Every look at it costs the time to wait.

    ``problem`` is the one that was asked about, since others have been tried by the time that it shows.
    """

    def __init__(self, message: str, problem: Problem) -> None:
        super().__init__(f"{LATE}: {message}", raised=LATE)
        self.problem = problem
