"""How a backend's call is written down, for a script that runs without this project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from verification.problem import Problem


class ScriptError(ValueError):
    """No script can be made of this; the message is one line that says why."""


@dataclass(frozen=True)
class Library:
    """A package that a reader cannot install, to be carried at the end of the script with a fault swapped into it."""

    package: ModuleType
    #: Lines that import from the package what the call uses.
    imports: str
    #: The functions that are swapped in, and the name of the decorator above them, which is left out.
    functions: tuple[Callable[..., Any], ...]
    decorator: str
    #: For each swap, the line that imports its owner and the line that swaps.
    swaps: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Snippet:
    """The parts of a script that are the backend's own."""

    #: Import lines.
    imports: str
    #: The body of a function that has the call's tensors under the field's names, and `make`'s result as ``layer``.
    call: str
    #: An expression for what several calls share; empty where there is nothing.
    make: str = ""
    #: Functions and classes that `call` and `make` use.
    functions: str = ""
    library: Library | None = None


@runtime_checkable
class Scripted(Protocol):
    """A backend that says itself how it is called."""

    def snippet(self, problem: Problem) -> Snippet: ...
