"""Lines about declarations that are weaker than they could be, with what the library's documentation says; and the copy
of a backend that is judged by its documentation.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields

from verification.backends.contract import Contract
from verification.backends.protocol import Backend, Wrapped
from verification.oracle.precision import Precision
from verification.problem.declarations import one_of, told, tuple_of

# End of the name under which a backend is judged by the precision that its documentation promises.
AS_DOCUMENTED = "@documented"
_FIELD = one_of(tuple(f.name for cls in (Contract, Precision) for f in fields(cls)))


def _text(field: str, value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(told(field, value, "be a text"))
    return value


@dataclass(frozen=True)
class Weaker:
    """A declaration that is weaker than it could be, with what the library's documentation says of it.

    A misspelt field raises ValueError or TypeError in one line that names it.
    """

    field: str
    """Field of `Contract` or `Precision` that could promise more."""
    documented: str
    """Words of the documentation, as they stand there; empty where it says nothing of the field."""
    source: str
    """Place of these words, or the documentation that says nothing: a function, a file of it, or an address."""
    explained_by: str
    """Explanation: an entry of docs/findings.md, as "findings 12" (several as "findings 4, 7"), or a limit in words."""
    values: tuple[str, ...] = ()
    """Those dtypes, labels, features or alignments of the field that are meant; empty for all that it leaves out."""

    def __post_init__(self) -> None:
        _FIELD("field", self.field)
        for name in ("documented", "source", "explained_by"):
            if not _text(name, getattr(self, name)) and name != "documented":
                raise ValueError(told(name, "", "say something"))
        object.__setattr__(self, "values", tuple_of(_text, "texts")("values", self.values))


def as_documented(backend: Backend) -> Backend:
    """Return a copy of the backend that declares the precision of its documentation, under a name that says so.

    Its calls are the backend's own. One that states no ``documented`` precision keeps the one that it declares.
    """
    made = copy(backend)
    documented = getattr(backend, "documented", None) or backend.precision
    for name, value in (("name", backend.name + AS_DOCUMENTED), ("precision", documented)):
        object.__setattr__(made, name, value)
    return made


def find_lines(backend: Backend) -> tuple[Weaker, ...]:
    """Return the lines that a backend has about its declarations, or that the backend inside has."""
    while isinstance(backend, Wrapped):
        backend = backend.inner
    found: tuple[Weaker, ...] = getattr(backend, "weaker", ())
    return found
