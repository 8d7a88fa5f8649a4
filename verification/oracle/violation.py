"""What is raised where a law is broken."""

from __future__ import annotations

from verification.oracle.difference import Difference


class Violation(AssertionError):
    """A law broken by a backend on a problem. ``difference`` says how, where an output is at fault."""

    def __init__(self, message: str, difference: Difference | None = None) -> None:
        super().__init__(message if difference is None else f"{message}\n  {difference.worst}")
        self.difference = difference


class Crash(Violation):
    """The backend's process died: no law holds where there is no answer."""


class Hang(Crash):
    """It did not answer in time. Apart from other crashes, since every look at it costs that time."""
