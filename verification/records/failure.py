"""Broken laws with all that a person needs to act on them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from verification.oracle.difference import Difference, Element
from verification.problem.reading import (
    INT64,
    Reader,
    flag,
    integer,
    jsonable,
    mapping_of,
    number,
    one_of,
    optional,
    record,
    record_of,
    text,
    tuple_of,
)
from verification.problem.table import OUTPUTS
from verification.records.findings import READERS as FINDING_READERS
from verification.records.findings import Finding

_TEXTS = ("statement", "kept", "not_kept", "raised", "need", "implementation", "instead_of")
_LISTS = ("as_if", "any_", "lines", "frames")


@dataclass(frozen=True)
class Failure:
    """Broken law, and what is known of how it broke."""

    finding: Finding
    """The smallest problem on which it broke, and whose law."""
    statement: str
    """The law's mathematics."""
    difference: Difference | None = None
    """The wrong elements; None where no output is at fault."""
    as_if: tuple[str, ...] = ()
    """Mistakes that would give the number of the worst element."""
    any_: tuple[str, ...] = ()
    """What may be anything: the law breaks whatever it is."""
    lines: tuple[str, ...] = ()
    """Lines of the implementation that ran when the law broke and never when it held, as Hypothesis saw them."""
    kept: str = ""
    """The file of the finding."""
    not_kept: str = ""
    """Why there is no file of it."""
    raised: str = ""
    """The exception that the kernel raised, with its line: equal for failures of one cause. Empty where none was."""
    frames: tuple[str, ...] = ()
    """Frames of that exception in the kernel's own code, the innermost last."""
    need: str = ""
    """The feature that the problem needs to break a law, to be read after "it needs"; empty where none is known."""
    everywhere: bool = False
    """It breaks on nearly every problem, so that nothing else can be told of the backend before it is mended."""
    cells: tuple[tuple[str, str], ...] = ()
    """Law and dtype of all that breaks by this cause, the finding's own first; empty in files of version 2."""
    implementation: str = ""
    """Name of the backend, as its cells have it; empty in files of version 2."""
    instead_of: str = ""
    """The name of the finding (`Finding.file_name`) that was told before, by a law that is not as simple."""

    @property
    def broken(self) -> tuple[tuple[str, str], ...]:
        """Return law and dtype of all that breaks by this cause."""
        return self.cells or ((self.finding.law, self.finding.problem.dtype),)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        held = {name: getattr(self, name) for name in (*_TEXTS, *_LISTS, "cells", "everywhere")}
        difference = asdict(self.difference) if self.difference else None
        if difference:
            difference["worst"]["at"] = dict(difference["worst"]["at"])
        return jsonable({**held, "difference": difference}) | {"finding": self.finding.to_dict()}  # type: ignore[no-any-return]


_INDEX = integer(0, INT64 - 1)
_ELEMENT: dict[str, Reader] = {
    "at": lambda where, value: tuple(mapping_of(_INDEX)(where, value).items()),
    "output": one_of(tuple(OUTPUTS)),
    **dict.fromkeys(("got", "exact", "bound"), number),
}
_AXES_OF_1 = ("sequence", "token", "head", "dim")


def _element(where: str, value: Any) -> Element:
    """Read an element; in version 1 of the events its axes stood beside its numbers."""
    if isinstance(value, dict) and "at" not in value:
        value = {"at": {axis: value[axis] for axis in _AXES_OF_1 if axis in value}} | {
            name: x for name, x in value.items() if name not in _AXES_OF_1
        }
    element: Element = record(Element, _ELEMENT, f"{where}.", value)
    return element


_DIFFERENCE: dict[str, Reader] = {
    "worst": _element,
    **dict.fromkeys(("elements", "wrong", "above", "below", "nan", "inf", "number"), _INDEX),
    "mean_error": number,
}
READERS: dict[str, Reader] = {
    "finding": record_of(Finding, FINDING_READERS),
    **dict.fromkeys(_TEXTS, text),
    **dict.fromkeys(_LISTS, tuple_of(text)),
    "cells": tuple_of(tuple_of(text, 2)),
    "everywhere": flag,
    "difference": optional(record_of(Difference, _DIFFERENCE)),
}
