"""What a backend says of how it is called, for a script that runs without this project."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from verification.problem import Problem


class ScriptError(ValueError):
    """No script can be made of this; one line that says why."""


@dataclass(frozen=True)
class Snippet:
    """``call`` is the body of a function that has the call's tensors under the field's names, and as ``layer`` what
    calls share: ``make`` is an expression for that, empty where there is none. ``imports`` are lines, ``functions`` are
    what ``call`` uses. ``library`` is code for the end of the file, of a library that the reader cannot install.
    """

    imports: str
    call: str
    make: str = ""
    functions: str = ""
    library: str = ""


@runtime_checkable
class Scripted(Protocol):
    """A backend that can be shown in a script."""

    def snippet(self, problem: Problem) -> Snippet: ...
