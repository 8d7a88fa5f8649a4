"""What a run has to tell: one record a cell (law x dtype x device x implementation), plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CellResult:
    """``problems`` were tried, ``outside`` of them the law said nothing about; ``score`` is the largest err/bound.

    ``digest`` is equal where the same problems were tried. ``failure`` is the report of a broken law, ``skipped`` why a
    cell could not run; both are empty for a cell that passed. ``found_after`` is the part of ``seconds`` that went by
    until the failure was found; the rest went into making it small.
    """

    law: str
    dtype: str
    device: str
    implementation: str
    problems: int = 0
    outside: int = 0
    score: float = 0.0
    seconds: float = 0.0
    found_after: float = 0.0
    digest: int = 0
    failure: str = ""
    skipped: str = ""

    @property
    def verified(self) -> int:
        return self.problems - self.outside

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
