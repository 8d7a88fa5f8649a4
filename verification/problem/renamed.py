"""Fields that have another name now: for one release the old one is understood too, with one warning that has both."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

Cls = TypeVar("Cls", bound=type)
_OLD_NAMES = "__renamed__"


class OldName(property):
    """A field under its old name, to be read."""


def renamed(**names: str) -> Callable[[Cls], Cls]:
    """Make a dataclass understand old names, ``renamed(old="new")``, where it is made, replaced and read."""

    def decorate(cls: Cls) -> Cls:
        made: Callable[..., None] = vars(cls)["__init__"]
        fields = frozenset(field.name for field in dataclasses.fields(cls) if field.init)

        @wraps(made)
        def init(self: Any, *args: Any, **given: Any) -> None:
            if not names.keys().isdisjoint(given):
                if fields <= given.keys():  # `dataclasses.replace` gives what it keeps too, under the new names
                    kept = given.keys() - {names[old] for old in names.keys() & given.keys()}
                    given = {name: given[name] for name in given if name in kept}
                given = with_new_names(cls, given, above=_replacing())
            made(self, *args, **given)

        setattr(cls, "__init__", init)  # noqa: B010 (mypy would have it that nobody assigns to a method)
        setattr(cls, _OLD_NAMES, names)
        for old, new in names.items():
            setattr(cls, old, OldName(_reader(cls.__name__, old, new)))
        return cls

    return decorate


def old_names(cls: type) -> dict[str, str]:
    """Return the old names of a class's fields and what each is called now."""
    found: dict[str, str] = getattr(cls, _OLD_NAMES, {})
    return found


def with_new_names(cls: type, given: dict[str, Any], above: int = 0) -> dict[str, Any]:
    """Return keyword arguments for ``cls`` under today's names. Warns of each old one, in the line of the caller's
    caller, or so many frames ``above`` it. Raises TypeError where a field is given under both names.
    """
    names, kept = old_names(cls), dict[str, Any]()
    for name, value in given.items():
        new = names.get(name, name)
        if new != name:
            if new in given:
                raise TypeError(f"{cls.__name__}: {name!r} beside {new!r} (must be one: the second is the new name)")
            _warn(cls.__name__, name, new, above + 4)
        kept[new] = value
    return kept


def _reader(cls: str, old: str, new: str) -> Callable[[Any], Any]:
    def read(self: Any) -> Any:
        _warn(cls, old, new, 3)
        return getattr(self, new)

    return read


def _warn(cls: str, old: str, new: str, level: int) -> None:
    text = f"{cls}.{old} is called {new} now; the old name is understood until the next release"
    warnings.warn(text, DeprecationWarning, stacklevel=level)


def _replacing() -> int:
    """Return how many frames of the module `dataclasses` lie between a class's ``__init__`` and who makes it."""
    count, frame = 0, sys._getframe(2)
    while frame.f_globals.get("__name__") == dataclasses.__name__ and frame.f_back is not None:
        count, frame = count + 1, frame.f_back
    return count
