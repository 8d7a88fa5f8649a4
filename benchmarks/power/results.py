"""The summary of a cell's samples: counts, largest, median and histogram, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.power.measure import KEPT_ALARMS, LARGEST, Alarm, Sample
from verification.problem.large import SIZES
from verification.records.histogram import histogram


@dataclass(frozen=True)
class RatioSummary:
    """The ratios of one judge in one cell."""

    false_alarms: int
    """Number of ratios above 1."""
    largest: float
    """Largest ratio."""
    median: float
    """Median of all ratios."""
    median_rounded: float
    """Median of the ratios above 0: on the other problems nothing was rounded."""
    exact: float
    """Share of the problems on which nothing was rounded."""
    histogram: tuple[int, ...]
    """Counts as `verification.records.histogram` makes them."""


@dataclass(frozen=True)
class Cell:
    """An implementation on one device in one dtype."""

    implementation: str
    """Name of the implementation."""
    device: str
    """Device that it runs on."""
    dtype: str
    """Format of the problems."""
    problems: int = 0
    """Number of problems that were tried."""
    seconds: float = 0.0
    """Time of all processes together."""
    first: RatioSummary | None = None
    """Ratios of the first judge; None if the cell was not run."""
    second: RatioSummary | None = None
    """Ratios of the probabilistic judge; None but for float32."""
    by_size: dict[str, RatioSummary] = field(default_factory=dict)
    """Ratios of the first judge for each profile of sizes."""
    alarms: tuple[Alarm, ...] = field(default=())
    """The first few alarms."""
    skipped: str = ""
    """Reason why the cell could not run; empty if it could."""

    def to_dict(self) -> dict[str, Any]:
        """Return the cell as plain data."""
        return asdict(self)


def summarise(cell: tuple[str, str, str], samples: Sequence[Sample]) -> Cell:
    """Summarise the samples of a cell."""
    ratios = np.concatenate([sample.ratios for sample in samples])
    second = np.concatenate([sample.second for sample in samples])
    sizes = np.array([size for sample in samples for size in sample.sizes])
    return Cell(
        *cell,
        problems=len(ratios),
        seconds=sum(sample.seconds for sample in samples),
        first=_summarise_ratios(ratios),
        second=_summarise_ratios(second) if len(second) else None,
        by_size={size: _summarise_ratios(ratios[sizes == size]) for size in SIZES if size in sizes},
        alarms=tuple(alarm for sample in samples for alarm in sample.alarms)[:KEPT_ALARMS],
    )


def _summarise_ratios(ratios: NDArray[np.float64]) -> RatioSummary:
    """Summarise the ratios of one judge."""
    ratios = np.minimum(ratios, LARGEST)
    rounded = ratios[ratios > 0]
    return RatioSummary(
        false_alarms=int((ratios > 1.0).sum()),
        largest=float(ratios.max()),
        median=float(np.median(ratios)),
        median_rounded=float(np.median(rounded)) if len(rounded) else 0.0,
        exact=1.0 - len(rounded) / len(ratios),
        histogram=histogram(ratios),
    )


def make_soundness_table(cells: Sequence[Cell], title: str) -> Table:
    """Return a table with a line for each cell."""
    table = Table(
        *("implementation", "dtype", "problems", "false alarms", "largest", "median", "median, rounded", "exact"),
        *("problems/s", "second judge: alarms", "largest", "median"),
        title=title,
    )
    for cell in cells:
        if cell.first is None:
            table.add_row(cell.implementation, cell.dtype, f"[yellow]not run: {cell.skipped}[/]")
            continue
        second = _format_ratios(cell.second) if cell.second else ("", "", "")
        rate = f"{cell.problems / cell.seconds:.0f}" if cell.seconds else ""
        more = (f"{cell.first.median_rounded:.3f}", f"{cell.first.exact:.0%}", rate)
        table.add_row(
            cell.implementation, cell.dtype, f"{cell.problems:,}", *_format_ratios(cell.first), *more, *second
        )
    return table


def make_size_table(cells: Sequence[Cell], title: str) -> Table:
    """Return a table with a line for each profile of sizes: all cells together, and the median cell's median."""
    table = Table("profile", "problems", "false alarms", "largest", "median", "median, rounded", title=title)
    for size in SIZES:
        found = [cell.by_size[size] for cell in cells if size in cell.by_size]
        if found:
            counts = (sum(sum(ratios.histogram) for ratios in found), sum(ratios.false_alarms for ratios in found))
            medians = [np.median([getattr(r, name) for r in found]) for name in ("median", "median_rounded")]
            numbers = (max(ratios.largest for ratios in found), *medians)
            table.add_row(size, *(f"{count:,}" for count in counts), *(f"{number:.3f}" for number in numbers))
    return table


def say_total(cells: Sequence[Cell]) -> str:
    """Return the false alarms of all cells in one line, and how many cells were not run, and why."""
    run = [cell for cell in cells if cell.first]
    alarms = sum(cell.first.false_alarms for cell in run if cell.first)
    problems = sum(cell.problems for cell in run)
    names = {(cell.implementation, cell.device) for cell in run}
    said = f"{alarms:,} false alarms in {problems:,} problems (implementations: {len(names)}, cells: {len(run)})"
    reasons = ", ".join(sorted({cell.skipped for cell in cells if cell.skipped}))
    return f"{said}; cells not run: {len(cells) - len(run)} ({reasons})" if reasons else said


def _format_ratios(judge: RatioSummary) -> tuple[str, str, str]:
    """Return the false alarms, the largest ratio and the median as text."""
    alarms = f"[bold red]{judge.false_alarms:,}[/]" if judge.false_alarms else "0"
    return alarms, f"{judge.largest:.3f}", f"{judge.median:.3f}"
