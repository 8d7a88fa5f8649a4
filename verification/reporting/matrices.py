"""Results as tables of places: by device and dtype, by law and dtype. Plain data for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from verification.records.results import CellResult


@dataclass(frozen=True)
class Place:
    """All results of one place in a table. ``reasons`` say why some could not run."""

    results: Sequence[CellResult]

    @property
    def ran(self) -> list[CellResult]:
        return [result for result in self.results if not result.skipped]

    @property
    def broken(self) -> int:
        return sum(bool(result.failure) for result in self.results)

    @property
    def problems(self) -> int:
        return sum(result.problems for result in self.ran)

    @property
    def verified(self) -> int:
        return sum(result.verified for result in self.ran)

    @property
    def score(self) -> float:
        return max((result.score for result in self.ran), default=0.0)

    @property
    def reasons(self) -> list[str]:
        return list(dict.fromkeys(result.skipped for result in self.results if result.skipped))

    @property
    def state(self) -> str:
        """What could not run, or verified nothing, is never shown as passed."""
        if not self.results:
            return "empty"
        if self.broken:
            return "broken"
        if not self.ran:
            return "skipped"
        return "good" if self.verified else "idle"


@dataclass(frozen=True)
class Grid:
    """A row a name, a column a dtype, and what all rows of a dtype came to."""

    title: str
    dtypes: list[str]
    rows: dict[str, list[Place]]
    totals: list[Place]


def device_grid(results: Sequence[CellResult]) -> Grid:
    """Device and implementation x dtype."""
    return _grid("", results, setting)


def law_grids(results: Sequence[CellResult]) -> list[Grid]:
    """Law x dtype, one grid for each device and implementation."""
    return [
        _grid(name, [result for result in results if setting(result) == name], lambda result: result.law)
        for name in dict.fromkeys(map(setting, results))
    ]


def setting(result: CellResult) -> str:
    """Where it ran, as one name."""
    return f"{result.device}: {result.implementation}"


def _grid(title: str, results: Sequence[CellResult], row_of: Callable[[CellResult], str]) -> Grid:
    places: dict[tuple[str, str], list[CellResult]] = {}
    for result in results:
        places.setdefault((row_of(result), result.dtype), []).append(result)
    dtypes = list(dict.fromkeys(result.dtype for result in results))
    rows = {
        row: [Place(places.get((row, dtype), [])) for dtype in dtypes] for row in dict.fromkeys(map(row_of, results))
    }
    return Grid(title, dtypes, rows, [Place([r for r in results if r.dtype == dtype]) for dtype in dtypes])
