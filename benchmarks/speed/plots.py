"""Cost against batch and against context: a line a contender, the machine's limit dashed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.speed.results import Outcome

Key = Callable[[Outcome], Any]


def draw_plot(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw a row a phase and dtype, with two panels a row; the file's suffix is its format."""
    rows = list(dict.fromkeys((o.size.phase, o.size.dtype) for o in outcomes))
    names = list(dict.fromkeys(row.contender for o in outcomes for row in o.rows if row.seconds and not row.wrong))
    if not rows:
        return
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "attention"}):
        figure = Figure(figsize=(9, 3.2 * len(rows) + 0.8), layout="constrained")
        panels = figure.subplots(len(rows), 2, squeeze=False)
        for (phase, dtype), (left, right) in zip(rows, panels, strict=True):
            cases = [o for o in outcomes if (o.size.phase, o.size.dtype) == (phase, dtype)]
            by_batch = _pick_most_alike(cases, lambda o: (o.size.low, o.size.high, o.size.block_size), _get_batch)
            by_context = _pick_most_alike(cases, lambda o: (o.size.batch, o.size.block_size), _get_mean_length)
            shared = by_batch[0].size
            _draw_panel(left, by_batch, _get_batch, names)
            left.set(title=f"{phase}, {dtype}, {shared.low:,} to {shared.high:,} tokens", xlabel="sequences")
            _draw_panel(right, by_context, _get_mean_length, names)
            count = by_context[0].size.batch
            right.set(title=f"{phase}, {dtype}, {count} sequence{'s' * (count > 1)}", xlabel="mean length")
            left.set_ylabel("ms a call")
        drawn = {line.get_label(): line for row in panels for panel in row for line in panel.get_lines()}
        figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4, fontsize=8)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _get_batch(outcome: Outcome) -> float:
    return outcome.size.batch


def _get_mean_length(outcome: Outcome) -> float:
    return sum(outcome.size.lengths) / outcome.size.batch


def _pick_most_alike(cases: Sequence[Outcome], rest: Key, x: Key) -> list[Outcome]:
    """Return the largest group of cases that differ in ``x`` alone, one for each ``x``."""
    found: dict[Any, dict[float, Outcome]] = {}
    for case in cases:
        found.setdefault(rest(case), {}).setdefault(x(case), case)
    return sorted(max(found.values(), key=len).values(), key=x)


def _draw_panel(panel: Axes, cases: Sequence[Outcome], x: Key, names: Sequence[str]) -> None:
    """Draw one panel; rows that are wrong, failed or skipped have no point."""
    for i, name in enumerate(names):
        rows = [(case, row) for case in cases for row in case.rows if row.contender == name]
        points = [(x(case), 1e3 * row.seconds) for case, row in rows if row.seconds and not row.wrong]
        if points:
            ours = any(row.ours for _, row in rows)
            style: dict[str, Any] = {"marker": "o" if ours else "x", "linewidth": 2 if ours else 1, "color": f"C{i}"}
            panel.plot(*zip(*points, strict=True), label=name, **style)
    limit = [1e3 * case.least_seconds for case in cases]
    panel.plot([x(case) for case in cases], limit, "k--", marker="_", linewidth=1, label="the machine's limit")
    panel.set(xscale="log", yscale="log")
    ticks = sorted({x(case) for case in cases})
    panel.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    panel.minorticks_off()
