"""A foreign backend as it declares itself in its own process, sent as plain data and read back with every check."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from verification.backends.contract import Contract
from verification.backends.documented import Weaker, find_lines
from verification.backends.protocol import Backend
from verification.oracle.precision import Precision


@dataclass(frozen=True)
class Opened:
    """The outcome of opening a backend by name."""

    devices: tuple[str, ...] = ()
    """The devices that it runs on; empty where nothing could be opened."""
    refused: str = ""
    """Why there is no such backend on the device that was asked for, in one line; empty where there is."""
    plain: dict[str, Any] | None = None
    """Its declaration, as `to_plain` made it."""


@dataclass(frozen=True)
class Declared:
    """All of a backend that plans, laws and the judge need, but for its calls."""

    name: str
    device: str
    contract: Contract
    precision: Precision
    weaker: tuple[Weaker, ...] = ()


def to_plain(backend: Backend) -> dict[str, Any]:
    """Return the declaration of a backend as texts, numbers and collections of them."""
    return {
        "name": str(backend.name),
        "device": str(backend.device),
        "contract": {field.name: getattr(backend.contract, field.name) for field in fields(Contract)},
        "precision": {field.name: getattr(backend.precision, field.name) for field in fields(Precision)},
        "weaker": [asdict(line) for line in find_lines(backend)],
    }


def from_plain(plain: dict[str, Any]) -> Declared:
    """Return what `to_plain` was given. Raises ValueError or TypeError, in one line, for what is no declaration."""
    contract, precision = Contract(**plain["contract"]), Precision(**plain["precision"])
    weaker = tuple(Weaker(**line) for line in plain["weaker"])
    return Declared(plain["name"], plain["device"], contract, precision, weaker)
