"""Texts from elsewhere with escapes for all that does not print: no terminal, file or page gets a control character."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

Value = TypeVar("Value")


def printable(text: str) -> str:
    """Return ``text`` with an escape, as ``\\x1b``, for each character that does not print, but for tabs and ends of
    lines; a lone surrogate, which no file in UTF-8 can hold, is one of them.
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or c.isprintable() else repr(c)[1:-1] for c in text)


def printable_in(value: Value) -> Value:
    """Return ``value`` with every text in it `printable`, at any depth of tuples, mappings and dataclasses; ``value``
    itself where nothing changes.
    """
    found: Any = value
    if isinstance(value, str):
        found = printable(value)
    elif isinstance(value, tuple):
        items = tuple(map(printable_in, value))
        found = value if all(new is old for new, old in zip(items, value, strict=True)) else items
    elif isinstance(value, dict):
        found = {printable_in(key): printable_in(item) for key, item in value.items()}
        found = value if found == value else found
    elif is_dataclass(value) and not isinstance(value, type):
        before = {field.name: getattr(value, field.name) for field in fields(value)}
        after = {name: printable_in(held) for name, held in before.items()}
        changed = {name: held for name, held in after.items() if held is not before[name]}
        found = replace(value, **changed) if changed else value
    return found  # type: ignore[no-any-return]
