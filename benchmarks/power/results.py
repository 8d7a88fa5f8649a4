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
class Judge:
    """One judge's scores. ``median_rounded`` leaves out the problems on which nothing was rounded: score 0.

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
    first: Judge | None = None
    second: Judge | None = None
    alarms: tuple[Alarm, ...] = field(default=())
    skipped: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summary(cell: tuple[str, str, str], samples: Sequence[Sample]) -> Cell:
    scores = np.concatenate([sample.ratios for sample in samples])
    second = np.concatenate([sample.second for sample in samples])
    return Cell(
        *cell,
        problems=len(scores),
        seconds=sum(sample.seconds for sample in samples),
        first=_judge(scores),
        second=_judge(second) if len(second) else None,
        alarms=tuple(alarm for sample in samples for alarm in sample.alarms)[:KEPT_ALARMS],
    )


def _judge(scores: NDArray[np.float64]) -> Judge:
    scores = np.minimum(scores, LARGEST)
    rounded = scores[scores > 0]
    return Judge(
        false_alarms=int((scores > 1.0).sum()),
        largest=float(scores.max()),
        median=float(np.median(scores)),
        median_rounded=float(np.median(rounded)) if len(rounded) else 0.0,
        exact=1.0 - len(rounded) / len(scores),
        histogram=histogram(scores),
    )


def soundness_table(cells: Sequence[Cell], title: str) -> Table:
    table = Table(
        *("implementation", "dtype", "problems", "false alarms", "largest", "median", "median, rounded", "exact"),
        *("problems/s", "second judge: alarms", "largest", "median"),
        title=title,
    )
    for cell in cells:
        if cell.first is None:
            table.add_row(cell.implementation, cell.dtype, f"[yellow]not run: {cell.skipped}[/]")
            continue
        second = _numbers(cell.second) if cell.second else ("", "", "")
        rate = f"{cell.problems / cell.seconds:.0f}" if cell.seconds else ""
        more = (f"{cell.first.median_rounded:.3f}", f"{cell.first.exact:.0%}", rate)
        table.add_row(cell.implementation, cell.dtype, f"{cell.problems:,}", *_numbers(cell.first), *more, *second)
    return table


def _numbers(judge: Judge) -> tuple[str, str, str]:
    alarms = f"[bold red]{judge.false_alarms:,}[/]" if judge.false_alarms else "0"
    return alarms, f"{judge.largest:.3f}", f"{judge.median:.3f}"
