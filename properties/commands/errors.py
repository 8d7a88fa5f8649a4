"""Errors that a person sees as one line, and the exit code of each."""

from __future__ import annotations

from properties.laws.claims import ClaimError
from properties.run.session import NOT_VERIFIED, WorkerDied
from verification.backends.protocol import NotAsked
from verification.backends.snippet import ScriptError
from verification.catalogue import UnknownBackend
from verification.problem.printable import printable
from verification.problem.reading import ProblemError


class UsageError(ValueError):
    """Raised for an option that makes no sense; the message names the option, its value and the rule."""


USAGE = 2
EXIT_CODES: dict[type[BaseException], int] = {
    UsageError: USAGE,
    ProblemError: USAGE,
    UnknownBackend: USAGE,
    ClaimError: USAGE,
    ScriptError: NOT_VERIFIED,
    WorkerDied: NOT_VERIFIED,
    NotAsked: NOT_VERIFIED,
}


def told(error: BaseException) -> str:
    """Return the line that a person sees of an error: it may quote what a foreign module says."""
    return f"error: {printable(str(error))}"
