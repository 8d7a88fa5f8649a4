"""The exceptions that are raised where a law is broken."""

from __future__ import annotations

from verification.oracle.difference import Difference
from verification.problem.printable import printable


class Violation(AssertionError):
    """A law broken by a backend on a problem. ``difference`` says how an output is wrong, if one is.

    The message may quote what foreign code says: here it becomes `printable`.
    """

    def __init__(self, message: str, difference: Difference | None = None) -> None:
        super().__init__(printable(message if difference is None else f"{message}\n  {difference.worst}"))
        self.difference = difference


class Crash(Violation):
    """A violation of every law: the backend's process died, and no law holds where there is no answer."""


class Hang(Crash):
    """A crash without an answer in time. It has a class of its own, since every look at it costs that time."""
