"""Broken laws with all that a person needs to act on them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from verification.oracle.difference import Difference, Element
from verification.problem.reading import (
    INT64,
    Reader,
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        held = {name: getattr(self, name) for name in ("statement", "as_if", "any_", "lines", "kept", "not_kept")}
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
    **dict.fromkeys(("statement", "kept", "not_kept"), text),
    **dict.fromkeys(("as_if", "any_", "lines"), tuple_of(text)),
    "difference": optional(record_of(Difference, _DIFFERENCE)),
}
