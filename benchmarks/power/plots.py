"""Figures of the reports, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")  # no display, no toolkit

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.power.results import Cell
from verification.records.histogram import EDGES

plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "attention"}  # letters as text, equal ids every time


def plot_ratios(cells: Sequence[Cell], path: Path) -> None:
    """Draw a panel a dtype, a line an implementation: the share of problems by their largest err/bound."""
    dtypes, names = (list(dict.fromkeys(getattr(cell, key) for cell in cells)) for key in ("dtype", "implementation"))
    size = (3.6 * len(dtypes), 3.4)
    figure, panels = plt.subplots(1, len(dtypes), figsize=size, sharey=True, squeeze=False, layout="constrained")
    # Bin 0 holds the zeros; of the other bins every eighth has a label, or the labels would overlap.
    ticks = {0: "0", **{bin_: f"$2^{{{round(np.log2(EDGES[bin_ - 1]))}}}$" for bin_ in range(9, len(EDGES) + 1, 8)}}
    for panel, dtype in zip(panels[0], dtypes, strict=True):
        for cell in cells:
            if cell.dtype == dtype and cell.first:
                shares = [count / cell.problems for count in cell.first.histogram]
                color, label = f"C{names.index(cell.implementation)}", cell.implementation
                panel.step(range(len(shares)), shares, where="mid", color=color, label=label, linewidth=1)
        panel.set_title(dtype)
        panel.set_yscale("log")
        panel.set_xlabel("largest err/bound of a problem")
        panel.set_xticks(list(ticks), list(ticks.values()))
        panel.axvline(len(EDGES) + 0.5, color="black", linestyle="--", linewidth=0.8)  # false alarms lie behind it
    panels[0][0].set_ylabel("share of problems")
    lines = {line.get_label(): line for panel in panels[0] for line in panel.get_lines() if line.get_label() in names}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines), fontsize=8)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def plot_sharpness(sights: Sequence[dict[str, Any]], errors: Sequence[float], path: Path) -> None:
    """Draw a panel a profile and dtype: the share of problems on which each rule sees an error in the scale."""
    shown = [sight for sight in sights if sight["place"] == "scale"]
    profiles, dtypes = (list(dict.fromkeys(sight[key] for sight in shown)) for key in ("profile", "dtype"))
    size = (4 * len(dtypes), 2.6 * len(profiles))
    figure, panels = plt.subplots(len(profiles), len(dtypes), figsize=size, sharex=True, sharey=True, squeeze=False)
    for sight in shown:
        panel = panels[profiles.index(sight["profile"])][dtypes.index(sight["dtype"])]
        for rule, share in sight["share"].items():
            panel.semilogx(errors, share, label=rule, linewidth=1.2)
        panel.set_title(f"{sight['profile']} profile, {sight['dtype']}", fontsize=9)
    for panel in panels[-1]:
        panel.set_xlabel("relative error of the scale")
    for row in panels:
        row[0].set_ylabel("share of problems seen")
    panels[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
