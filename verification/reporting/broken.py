"""Broken laws as a person needs them: what should hold, the problem drawn, the worst element, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import isfinite
from pathlib import Path
from shlex import quote

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from verification.oracle.difference import Difference
from verification.problem.describe import describe
from verification.records.failure import Failure
from verification.reporting.cause import tell_cause
from verification.reporting.draw import draw_problem
from verification.reporting.tables import folding

# More reasons than these are none.
_MOST_REASONS = 4


def render_failure(failure: Failure) -> RenderableType:
    """Return all that is known of a broken law, to be understood in a minute."""
    finding, found = failure.finding, failure.difference
    title = Text(f"{finding.law} is broken by {finding.backend} on {finding.device}", style="bold red")
    parts: list[RenderableType] = [Padding(Text(failure.statement, style="italic"), (0, 0, 1, 2))]
    parts.append(Text(finding.message.splitlines()[0] if finding.message else "", style="bold"))
    if found:
        parts.append(_worst(found))
        parts.append(Text(_census(found)))
    if failure.as_if:
        parts.append(Text(f"It is as if {', or '.join(failure.as_if[:_MOST_REASONS])}.", style="bold yellow"))
    parts += [Text("\nThe smallest problem found", style="bold"), Text(describe(finding.problem))]
    parts.append(draw_problem(finding.problem, found.worst if found else None))
    parts += [Text(line) for line in (*_hints(failure), *_set_off(tell_cause(failure)))]
    parts += [Text(), *_next(failure)]
    return Panel(Group(*parts), title=title, title_align="left", border_style="red")


def _worst(found: Difference) -> Table:
    worst = found.worst
    table = folding("worst element", "got", "exact", "off by", "allowed")
    off = abs(worst.got - worst.exact)
    allowed = f"{worst.bound:.3g}" if worst.bound else "nothing"
    table.add_row(
        worst.where,
        Text(repr(worst.got), style="red"),
        Text(f"{worst.exact:.10g}", style="green"),
        f"{off:.3g}" if isfinite(off) else "-",
        allowed,
    )
    return table


def _census(found: Difference) -> str:
    """Return what all the wrong elements have in common."""
    kinds = {
        "too large": found.above,
        "too small": found.below,
        "NaN": found.nan,
        "Inf": found.inf,
        "a number where NaN or Inf is owed": found.number,
    }
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    mean = f"{found.mean_error:+.3g}" if found.mean_error else "0"
    average = f"; off by {mean} on average" if found.above + found.below > 1 else ""
    return f"{found.wrong} of {found.elements} elements are wrong: {said or 'other bits'}{average}"


def _hints(failure: Failure) -> Iterator[str]:
    if failure.any_:
        yield f"\nBreaks as well with any other {', '.join(failure.any_)}."
    if failure.lines:
        yield "\nOnly when it breaks, these lines run:"
        yield from (f"  {line}" for line in failure.lines)


def _set_off(lines: Iterable[str]) -> list[str]:
    """Return the lines behind an empty one, if there are any."""
    found = list(lines)
    return ["", *found] if found else []


def _next(failure: Failure) -> Iterator[Text]:
    yield Text("Replay it:", style="bold")
    yield Text(f"  {replay_command(failure)}")
    if failure.not_kept:
        yield Text(f"NOT KEPT in {failure.not_kept}; this is all there is of it", style="bold red")
    else:
        yield Text(f"A script for others: {script_command(failure)} > report.py")


def script_command(failure: Failure) -> str:
    """Return the command that makes a script of it, by the file of the finding."""
    law = f" --law {quote(failure.finding.law)}" if _of_whom(failure) else ""
    return f"attn-verify script {quote(failure.kept)}{law}{_of_whom(failure)}"


def replay_command(failure: Failure) -> str:
    """Return the command that replays it, by the file of the finding or, where there is none, by the problem itself."""
    what = failure.kept or failure.finding.to_line()
    return f"attn-verify replay {quote(what)}{_of_whom(failure)}"


def _of_whom(failure: Failure) -> str:
    """Return the options that name backend and device; none where the file does, unlike one of the corpus."""
    finding = failure.finding
    if Path(failure.kept).name == finding.file_name:
        return ""
    device = f" --device {quote(finding.device)}" if finding.device != "cpu" else ""
    return f" --backend {quote(finding.backend)}{device}"
