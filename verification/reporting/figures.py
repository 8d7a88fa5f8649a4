"""Figures of the page: SVG that takes its colours from the page, so that it is right in light and in dark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO

import numpy as np

from verification.records.histogram import BINS, EDGES

LINES = 8  # colours of the style sheet
DASHES = ((), (6, 2), (2, 2), (6, 2, 2, 2))
_BOUND = len(EDGES) + 0.5  # what lies behind it is above 1


def load() -> None:
    """Load what draws: half a second, which the first problem of a run need not wait for, nor the end of one."""
    import matplotlib.figure
    import matplotlib.ticker  # noqa: F401


def ratio_figure(name: str, histograms: Sequence[tuple[int, ...]]) -> str:
    """Draw the shares of problems by err/bound, a line each. Equal figures are equal text; ``name`` keeps ids apart."""
    import matplotlib  # see `load`
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9}):
        figure = Figure(figsize=(4.6, 2.7))
        axes = figure.add_axes((0.15, 0.17, 0.84, 0.8))  # to lay it out would take longer than all the rest
        least = 1.0
        for i, held in enumerate(histograms):
            shares = np.array([*held, *[0] * (BINS - len(held))][:BINS]) / max(1, sum(held))
            least = min([least, *shares[shares > 0]])
            # A line's number is its colour until `_for_page` puts the page's in.
            color, dashes = f"#0000{i % LINES + 1:02x}", (0, DASHES[i % len(DASHES)])
            axes.step(range(BINS), shares, where="mid", color=color, linestyle=dashes, linewidth=1.6)
        ticks = {0: "0", **{bin_: f"1/{1 / EDGES[bin_ - 1]:.0f}" for bin_ in range(5, BINS - 2, 4)}, BINS - 2: "1"}
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set(yscale="log", ylim=(least / 2, 1.5), xlim=(-0.5, BINS - 0.5))
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("largest err/bound of a problem")
        axes.set_ylabel("share of problems")
        axes.axvline(_BOUND, color="#0000ff", linestyle="--", linewidth=1.2)
        axes.axvspan(_BOUND, BINS, color="#0000ff", alpha=0.15, linewidth=0)
        axes.spines[["top", "right"]].set_visible(False)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _for_page(text.getvalue())


def _for_page(svg: str) -> str:
    """Return it without a prologue, metadata, rules for the whole page, or ids that two figures would share; its
    colours are named.
    """
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"|(?<=<g) id="[^"]*"| (width|height)="[\d.]+pt"', "", svg)
    svg = svg.replace("xlink:href", "href").replace("#000000", "currentColor").replace("#0000ff", "var(--bad)")
    svg = re.sub(r"#0000(\d\d)", lambda match: f"var(--line-{int(match[1], 16)})", svg)
    return re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
