"""Results as tables of places: by device and dtype, by law and dtype. Plain data for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from verification.records.results import CellResult, State
from verification.reporting.tally import counts

Key = Callable[[CellResult], str]


@dataclass(frozen=True)
class Place:
    """Results of the cells that share a place in a table."""

    results: Sequence[CellResult]

    @property
    def ran(self) -> list[CellResult]:
        """Return the results of cells that tried a problem."""
        return [result for result in self.results if result.problems]

    @property
    def broken(self) -> int:
        """Return how many cells are broken."""
        return sum(result.state is State.BROKEN for result in self.results)

    @property
    def problems(self) -> int:
        """Return how many problems were tried."""
        return sum(result.problems for result in self.results)

    @property
    def verified(self) -> int:
        """Return how many problems were verified."""
        return sum(result.verified for result in self.results)

    @property
    def ratio(self) -> float:
        """Return the largest err/bound."""
        return max((result.ratio for result in self.results), default=0.0)

    @property
    def reasons(self) -> list[str]:
        """Return why cells did not hold that are not broken either."""
        silent = (State.SAYS_NOTHING, State.NOT_RUN)
        return list(dict.fromkeys(result.why for result in self.results if result.state in silent))

    @property
    def states(self) -> dict[State, int]:
        """Return the states that its cells came to, and how many came to each."""
        return {state: count for state, count in counts(self.results).items() if count}

    @property
    def kind(self) -> str:
        """Return a class of the style sheet: the one state of all its cells, else broken or mixed. A place is held only
        where every cell of it is.
        """
        if len(self.states) > 1:
            return "broken" if self.broken else "mixed"
        return next((state.replace(" ", "-") for state in self.states), "empty")


@dataclass(frozen=True)
class Grid:
    """Table of places: a row and a column for each name, and what all rows of a column came to."""

    title: str
    columns: list[str]
    rows: dict[str, list[Place]]
    totals: list[Place]


def verdict_grid(results: Sequence[CellResult]) -> Grid:
    """Return law x device and implementation, over all dtypes: what became of each law."""
    return _grid("", results, lambda result: result.law, setting)


def device_grid(results: Sequence[CellResult]) -> Grid:
    """Return device and implementation x dtype."""
    return _grid("", results, setting)


def law_grids(results: Sequence[CellResult]) -> list[Grid]:
    """Return law x dtype, one grid for each device and implementation."""
    return [
        _grid(name, [result for result in results if setting(result) == name], lambda result: result.law)
        for name in dict.fromkeys(map(setting, results))
    ]


def setting(result: CellResult) -> str:
    """Return where it ran, as one name."""
    return f"{result.device}: {result.implementation}"


def _grid(title: str, results: Sequence[CellResult], row_of: Key, column_of: Key = lambda result: result.dtype) -> Grid:
    places: dict[tuple[str, str], list[CellResult]] = {}
    for result in results:
        places.setdefault((row_of(result), column_of(result)), []).append(result)
    columns = list(dict.fromkeys(map(column_of, results)))
    rows = {
        row: [Place(places.get((row, name), [])) for name in columns] for row in dict.fromkeys(map(row_of, results))
    }
    return Grid(title, columns, rows, [Place([r for r in results if column_of(r) == name]) for name in columns])
