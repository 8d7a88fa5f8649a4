"""The source code of a backend's call, for a script that runs without this project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from verification.problem import Problem


class ScriptError(ValueError):
    """Raised where no script can be made; the message is one line with the reason."""


@dataclass(frozen=True)
class Library:
    """A package with a planted fault, which a reader cannot install: it stands at the end of the script."""

    package: ModuleType
    imports: str
    """Lines that import all that the call uses of the package."""
    functions: tuple[Callable[..., Any], ...]
    """Functions that are swapped in."""
    decorator: str
    """Name of the decorator above those functions, which the script leaves out."""
    swaps: tuple[tuple[str, str], ...]
    """For each swap the line that imports its owner, and the line that swaps."""


@dataclass(frozen=True)
class Snippet:
    """The parts of a script that are the backend's own, as source code."""

    imports: str
    """Import lines."""
    call: str
    """The body of a function whose parameters are the call's tensors, by their names in `Tensors`, and ``layer``, the
    value of ``make``."""
    make: str = ""
    """An expression for the object that several calls share; empty where there is none."""
    functions: str = ""
    """Functions and classes that ``call`` and ``make`` use."""
    owner: str = ""
    """The part of ``make`` that makes the kernel itself, which all objects of a script share; empty where each has its
    own."""
    library: Library | None = None
    """The package under the call, where a reader cannot install it."""
    siblings: tuple[str, ...] = ()
    """Files beside the kernel's that ``imports`` need: no package that a reader could install has them."""


@runtime_checkable
class Scripted(Protocol):
    """A backend that has the source code of its own call."""

    def snippet(self, problem: Problem) -> Snippet: ...
