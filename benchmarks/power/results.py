"""What the samples of a cell come to: counts, largest, median, histogram; as JSON and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.power.measure import KEPT_ALARMS, LARGEST, Alarm, Sample
from verification.records.histogram import histogram


@dataclass(frozen=True)
class RatioSummary:
    """One judge's ratios. ``median_rounded`` leaves out the problems on which nothing was rounded: score 0.

    ``histogram`` is of the kind that `verification.records.histogram` makes.
    """

    false_alarms: int
    largest: float
    median: float
    median_rounded: float
    exact: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class Cell:
    """Implementation x device x dtype. ``second`` is the probabilistic judge of float32; ``skipped`` says why a cell
    could not run. ``seconds`` are of a process.
    """

    implementation: str
    device: str
    dtype: str
    problems: int = 0
    seconds: float = 0.0
    first: RatioSummary | None = None
    second: RatioSummary | None = None
    alarms: tuple[Alarm, ...] = field(default=())
    skipped: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(cell: tuple[str, str, str], samples: Sequence[Sample]) -> Cell:
    ratios = np.concatenate([sample.ratios for sample in samples])
    second = np.concatenate([sample.second for sample in samples])
    return Cell(
        *cell,
        problems=len(ratios),
        seconds=sum(sample.seconds for sample in samples),
        first=_summarise_ratios(ratios),
        second=_summarise_ratios(second) if len(second) else None,
        alarms=tuple(alarm for sample in samples for alarm in sample.alarms)[:KEPT_ALARMS],
    )


def _summarise_ratios(ratios: NDArray[np.float64]) -> RatioSummary:
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


def _format_ratios(judge: RatioSummary) -> tuple[str, str, str]:
    alarms = f"[bold red]{judge.false_alarms:,}[/]" if judge.false_alarms else "0"
    return alarms, f"{judge.largest:.3f}", f"{judge.median:.3f}"
