"""Checks of what an author declares of a kernel. Each returns the value as it is kept, or raises one line that has the
field's name, the value and what is allowed: TypeError where the type is wrong, else ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from math import isfinite
from numbers import Integral, Real
from typing import Any

from verification.problem.reading import shortened

Check = Callable[[str, Any], Any]
_COLLECTIONS = (tuple, list, set, frozenset)
# As alike as "fp16" and "float16" are; two names that have nothing in common are below it.
_ALIKE = 0.5


def nearest(name: object, allowed: Iterable[str]) -> str:
    """Return ``; the nearest is 'prefill'`` for the end of a rule, nothing where no allowed name is like this one."""
    found = get_close_matches(str(name), list(allowed), n=1, cutoff=_ALIKE)
    return f"; the nearest is {found[0]!r}" if found else ""


def told(field: str, value: object, rule: str) -> str:
    """Return the one line of an error, ``field: value (must rule)``, whatever the value prints."""
    return f"{field}: {' '.join(shortened(value).split())} (must {rule})"


def flag(field: str, value: Any) -> bool:
    """Return True or False; a 1 or a text that stands for one of them is refused."""
    if not isinstance(value, bool):
        raise TypeError(told(field, value, "be True or False"))
    return value


def amount(field: str, value: Any) -> float:
    """Return a finite number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(told(field, value, "be a number, 0 or more"))
    if not isfinite(value) or value < 0:
        raise ValueError(told(field, value, "be a finite number, 0 or more"))
    return float(value)


def whole(least: int) -> Check:
    """Make a check for whole numbers that are not below ``least``."""

    def check(field: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(told(field, value, f"be a whole number, {least} or more"))
        if value < least:
            raise ValueError(told(field, value, f"be a whole number, {least} or more"))
        return int(value)

    return check


def one_of(allowed: Sequence[str], rule: str = "") -> Check:
    """Make a check for one of these names. ``rule`` says which they are, where they are too many for a line."""
    rule = rule or f"be one of {', '.join(map(repr, allowed))}"

    def check(field: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(told(field, value, rule + nearest(value, allowed)))
        if value not in allowed:
            raise ValueError(told(field, value, rule + nearest(value, allowed)))
        return value

    return check


def tuple_of(item: Check, what: str, order: Sequence[Any] = ()) -> Check:
    """Make a check for tuples, each element of which passes ``item``. A set has no order of its own, so its elements
    come as in ``order``, else sorted; ``what`` says in plural what they are.
    """

    def check(field: str, value: Any) -> tuple[Any, ...]:
        kept = tuple(item(field, element) for element in _elements(field, value, f"tuple of {what}"))
        if repeated := [element for i, element in enumerate(kept) if element in kept[:i]]:
            raise ValueError(told(field, repeated[0], "be named once"))
        if isinstance(value, set | frozenset):
            return tuple(sorted(kept, key=order.index if order else None))
        return kept

    return check


def some(check: Check, what: str) -> Check:
    """Make of a check one that refuses an empty collection too."""

    def some_(field: str, value: Any) -> Any:
        if not (kept := check(field, value)):
            raise ValueError(told(field, value, f"name at least one {what}"))
        return kept

    return some_


def set_of(item: Check, what: str) -> Check:
    """Make a check for sets, each element of which passes ``item``; ``what`` says in plural what they are."""

    def check(field: str, value: Any) -> frozenset[Any]:
        return frozenset(item(field, element) for element in _elements(field, value, f"set of {what}"))

    return check


def _elements(field: str, value: Any, what: str) -> Iterable[Any]:
    """Return what is in a collection, in an order that is the same in every process. A text is none."""
    if isinstance(value, str):
        text = shortened(value)
        example = f"{{{text}}}" if what.startswith("set") else f"({text},)"
        raise TypeError(told(field, value, f"be a {what}, as {example} is"))
    if not isinstance(value, _COLLECTIONS):
        raise TypeError(told(field, value, f"be a {what}"))
    return sorted(value, key=repr) if isinstance(value, set | frozenset) else value
