"""Readers of JSON that may be hostile: field by field, never evaluated. Each error is one line that names the field."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from sys import float_info
from typing import Any

from verification.problem.printable import printable

# Integers of 64 bits lie in [-INT64, INT64).
INT64 = 2**63
# Longer texts are refused unread: `json.loads` has no limit of its own.
MAX_CHARACTERS = 4_000_000
# A reader takes the name of a field and its value, and returns the value in its own type or raises ProblemError.
Reader = Callable[[str, Any], Any]


class ProblemError(ValueError):
    """Raised for a text that is no problem; the message is one line and names the field."""


def shortened(value: Any) -> str:
    """Return ``value`` as a short text. A hostile one must not turn a line into a page, nor raise by being printed."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        return type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def parsed(text: str, what: str = "problem") -> Any:
    """Return JSON as data, whatever it holds. Raises ProblemError."""
    if len(text) > MAX_CHARACTERS:
        raise ProblemError(f"{what}: {len(text)} characters, more than {MAX_CHARACTERS}")
    try:
        return json.loads(text, object_pairs_hook=_unique_fields)
    except ProblemError:
        raise
    except (RecursionError, ValueError) as error:
        raise ProblemError(f"{what}: not JSON ({str(error).splitlines()[0]})") from None


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of an object. Raises ProblemError for a repeated name, where `json.loads` keeps the last."""
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ProblemError(f"{shortened(twice)}: given twice")
    return data


def record(cls: type[Any], readers: Mapping[str, Reader], where: str, data: Any) -> Any:
    """Return a ``cls`` from an object with these fields and no others. Errors put ``where`` before the field's name."""
    if not isinstance(data, dict):
        raise ProblemError(f"{where.removesuffix('.')}: must be an object, not {shortened(data)}")
    for name in data:
        if name not in readers:
            raise ProblemError(f"{where}{shortened(name)}: unknown field")
    try:
        return cls(**{name: readers[name](f"{where}{name}", value) for name, value in data.items()})
    except TypeError as error:
        missing = str(error).split(": ")[-1]
        raise ProblemError(f"{where}{missing}: missing field") from None


def record_of(cls: type[Any], readers: Mapping[str, Reader]) -> Reader:
    """Return a reader of fields that hold the object of a ``cls``, by `record`."""
    return lambda where, value: record(cls, readers, f"{where}.", value)


def integer(low: int, high: int) -> Reader:
    def read(where: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ProblemError(f"{where}: {shortened(value)} (must be an integer in [{low}, {high}])")
        return value

    return read


def finite(where: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= float_info.max:
        raise ProblemError(f"{where}: {shortened(value)} (must be a finite number)")
    return float(value)


def number(where: str, value: Any) -> float:
    """Read a number, also NaN and Inf, which JSON does not have: `jsonable` writes them as texts."""
    return float(value) if value in ("nan", "inf", "-inf") else finite(where, value)


def text(where: str, value: Any) -> str:
    """Read a text, which becomes `printable`."""
    if not isinstance(value, str):
        raise ProblemError(f"{where}: {shortened(value)} (must be a text)")
    return printable(value)


def flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ProblemError(f"{where}: {shortened(value)} (must be true or false)")
    return value


def one_of(allowed: Sequence[str]) -> Reader:
    def read(where: str, value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ProblemError(f"{where}: {shortened(value)} (must be one of {', '.join(map(repr, allowed))})")
        return value

    return read


def tuple_of(read_item: Reader, length: int | None = None) -> Reader:
    def read(where: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise ProblemError(f"{where}: {shortened(value)} (must be a list{f' of {length}' if length else ''})")
        return tuple(read_item(f"{where}[{i}]", item) for i, item in enumerate(value))

    return read


def mapping_of(read_item: Reader) -> Reader:
    def read(where: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ProblemError(f"{where}: {shortened(value)} (must be an object)")
        return {printable(name): read_item(f"{where}.{shortened(name)}", item) for name, item in value.items()}

    return read


def optional(read_item: Reader) -> Reader:
    return lambda where, value: None if value is None else read_item(where, value)


def jsonable(value: Any) -> Any:
    """Return ``value`` with NaN and Inf as texts, at any depth of lists and objects."""
    match value:
        case float() if not isfinite(value):
            return str(value)
        case dict():
            return {name: jsonable(item) for name, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
    return value
