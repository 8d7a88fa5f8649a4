"""HTML page of a run or several: offline, in one file, whatever its texts hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from verification.problem.describe import describe
from verification.records.failure import Failure
from verification.records.results import CellResult, State, added
from verification.reporting.broken import replay_command, script_command
from verification.reporting.cause import tell_cause
from verification.reporting.figures import DASHES, LINES, ratio_figure
from verification.reporting.headline import duration, headline, without_finding
from verification.reporting.matrices import device_grid, law_grids, setting, verdict_grid
from verification.reporting.pictures import Picture, picture
from verification.reporting.summary import Summary
from verification.reporting.triangle import triangle

_DRAWN = 30  # findings with a picture: the page stays small however many there are


@dataclass(frozen=True)
class Shown:
    """Failure as the page shows it."""

    failure: Failure
    """The failure itself."""
    message: str
    """How it broke, without the worst element."""
    words: str
    """The problem in words."""
    drawn: Picture | None
    """The problem as a picture."""
    commands: list[str]
    """Commands that replay it and that write its script."""
    cause: list[str]
    """Lines about its cause."""

    @property
    def census(self) -> str:
        """Return what all wrong elements have in common."""
        off = self.failure.difference
        if off is None:
            return ""
        counts = {
            "above": off.above,
            "below": off.below,
            "NaN, where it is not owed": off.nan,
            "Inf, where it is not owed": off.inf,
            "numbers, where NaN or Inf is owed": off.number,
        }
        said = "; ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
        return f"{said or 'other bits'}; mean signed error {_short(off.mean_error)}"

    @property
    def ratio(self) -> float | None:
        """Return err/bound of the worst element, where there is one."""
        worst = self.failure.difference.worst if self.failure.difference else None
        if worst is None or not worst.bound or not isfinite(worst.got - worst.exact):
            return None
        return abs(worst.got - worst.exact) / worst.bound


def page(summary: Summary) -> str:
    """Return the page. What comes from backends, files, laws or command lines is escaped."""
    results = sorted(summary.results, key=lambda result: result.state is State.NOT_RUN)  # what ran first
    return _PAGE.render(
        summary=summary,
        headline=headline(summary),
        findings=[_shown(failure, i < _DRAWN) for i, failure in enumerate(summary.failures)],
        bare=without_finding(summary),
        verdict=verdict_grid(results),
        devices=device_grid(results),
        laws=law_grids([result for result in results if result.state is not State.NOT_RUN]),
        figures=_figures(results),
        coverage=triangle(summary.coverage, summary.left_out) if summary.coverage else None,
        faults=sorted(summary.faults, key=lambda fault: bool(fault.law)),  # survivors first
        ended=len(summary.endings) == len(summary.runs),
    )


def _shown(failure: Failure, draws: bool) -> Shown:
    finding = failure.finding
    worst = failure.difference.worst if failure.difference else None
    return Shown(
        failure,
        finding.message.removesuffix(f"\n  {worst}"),  # which stands below it
        describe(finding.problem),
        picture(finding.problem, worst) if draws else None,
        [replay_command(failure), script_command(failure)] if failure.kept else [replay_command(failure)],
        list(tell_cause(failure)),
    )


@dataclass(frozen=True)
class Figures:
    """Figures by dtype; ``lines`` are the name, number of the colour and dashes of each line."""

    lines: list[tuple[str, int, str]]
    by_dtype: dict[str, Markup]


def _figures(results: list[CellResult]) -> Figures:
    """Return figures of the ratios of all laws together."""
    sums: dict[str, dict[str, tuple[int, ...]]] = {}
    for result in results:
        if any(result.histogram):
            of = sums.setdefault(result.dtype, {})
            of[setting(result)] = added(of.get(setting(result), ()), result.histogram)
    names = list(dict.fromkeys(name for of in sums.values() for name in of))
    lines = [(name, i % LINES + 1, " ".join(map(str, DASHES[i % len(DASHES)]))) for i, name in enumerate(names)]
    drawn = {dtype: ratio_figure(dtype, [of.get(name, ()) for name in names]) for dtype, of in sums.items()}
    return Figures(lines, {dtype: Markup(svg) for dtype, svg in drawn.items()})


def _number(value: float) -> str:
    """Return a number as it is to be read back."""
    return {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}.get(str(value), repr(value))


def _short(value: float, form: str = ".3g") -> str:
    return format(value, form) if isfinite(value) else _number(value)


def _environment() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters: dict[str, Callable[..., Any]] = {
        "count": lambda value: f"{value:,}",
        "number": _number,
        "short": _short,
        "duration": duration,
    }
    made.filters |= filters
    return made


_PAGE = _environment().get_template("page.html.jinja")
