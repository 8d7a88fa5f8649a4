"""docs/power.md, made from the files that the sessions wrote.

``python -m benchmarks.power.page --faults F.json ... --soundness S.json ... --power P.json --figures docs/figures``
prints the page. The first of the faults' files is shown whole, the others in a line each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, StrictUndefined

from benchmarks.power.plots import plot_ratios, plot_sharpness
from benchmarks.power.power import SOURCES
from benchmarks.power.results import Cell, RatioSummary
from benchmarks.power.rivals import GENERATORS
from benchmarks.power.rules import RULES
from verification.faults import FAULTS

Data = dict[str, Any]
TEMPLATE = Path(__file__).with_name("power.md.jinja")


def collect_faults(reports: list[Data]) -> Data:
    """Collect a line for each run, then the first run fault by fault."""
    runs = []
    for report in reports:
        planted, controls = ([r for r in report["rows"] if r["honest"] is honest] for honest in (False, True))
        killed = [r for r in planted if r["killed"]]
        sizes = [r["tokens"] for r in killed]
        alarms = f"{sum(r['killed'] for r in controls)} in {sum(r['problems'] for r in controls):,}"
        checks, size = _median([r["problems"] for r in killed]), f"{_median(sizes)}, {max(sizes, default='-')}"
        count = f"{len(killed)} of {len(planted)}"
        runs.append((report["seed"], count, checks, f"{report['seconds']:.0f}", size, alarms))
    rows = [r for r in reports[0]["rows"] if not r["honest"]]
    faults = [
        (
            f"`{r['id']}`",
            " ".join(FAULTS[r["id"]].sentence.split()),
            FAULTS[r["id"]].citation or "-",
            f"`{r['law']}`" if r["killed"] else "**survived**",
            *(f"{r['problems']:,}", f"{r['seconds']:.2f}", r["tokens"]),
        )
        for r in rows
    ]
    minimal = [(r["id"], r["words"]) for r in rows if r["killed"]]
    return {"runs": runs, "faults": faults, "minimal": minimal, "workers": reports[0]["workers"]}


def _median(numbers: list[int]) -> str:
    """Return the median as text, or a dash if nothing was killed."""
    return f"{median(numbers):g}" if numbers else "-"


def collect_soundness(reports: list[Data]) -> Data:
    """Collect a row for each cell, and the sums of each implementation."""
    cells, sums = [], defaultdict(lambda: [0, 0])
    for _, cell, device in _list_cells(reports):
        name, problems, first = (cell[key] for key in ("implementation", "problems", "first"))
        ratios = (f"{first['largest']:.3f}", f"{first['median_rounded']:.3f}", f"{first['exact']:.0%}")
        cells.append((device, name, cell["dtype"], f"{problems:,}", first["false_alarms"], *ratios))
        sums[device, name][0] += problems
        sums[device, name][1] += first["false_alarms"]
    totals = [(*key, f"{problems:,}", alarms) for key, (problems, alarms) in sums.items()]
    return {"cells": cells, "totals": totals}


def collect_second_judge(reports: list[Data]) -> Data:
    """Collect float32 under the probabilistic bound, by lambda, beside the first judge on the same problems."""
    rows = []
    for report, cell, device in _list_cells(reports):
        if cell["second"]:
            judges = [cell["second"], cell["first"]]
            ratios = (f"{judge[key]:.3f}" for key in ("largest", "median_rounded") for judge in judges)
            alarms = cell["second"]["false_alarms"]
            rows.append((report["lambda"], device, cell["implementation"], f"{cell['problems']:,}", alarms, *ratios))
    return {"second": sorted(rows, key=lambda row: row[0])}


def _list_cells(reports: list[Data]) -> Iterator[tuple[Data, Data, str]]:
    """Yield every cell that ran, with its report and the name of its device."""
    for report in reports:
        for cell in report["cells"]:
            if cell["problems"]:
                yield report, cell, "CPU" if cell["device"] == "cpu" else report["flags"]["device"]


def collect_generators(results: list[Data]) -> Data:
    """Collect how each generator did, and where another was quicker than ours."""
    by = {(r["fault"], r["generator"]): r for r in results}
    faults = list(dict.fromkeys(r["fault"] for r in results))
    rows = []
    for name in GENERATORS:
        mine = [by[fault, name] for fault in faults]
        killed = [r for r in mine if r["law"]]
        quicker = sum(r["seconds"] < by[r["fault"], "ours"]["seconds"] for r in killed)
        checks, seconds = _median([r["problems"] for r in killed]), sum(r["seconds"] for r in mine)
        rows.append((name, f"{len(killed)} of {len(mine)}", checks, f"{seconds:.0f}", quicker))
    contest = [
        (
            f"`{f}`",
            *(
                f"{r['problems']:,} in {r['seconds']:.2f} s" if r["law"] else "-"
                for r in (by[f, n] for n in GENERATORS)
            ),
        )
        for f in faults
    ]
    return {"generators": rows, "generator_names": list(GENERATORS), "contest": contest}


def collect_rules(judged: list[Data], alarms: list[Data]) -> Data:
    """Collect how each rule judged the same outputs, and where another did better than ours."""
    visible = {r["fault"] for r in judged if r["visible"]}
    mine = {source: [r for r in judged if r["problems from"] == source and r["fault"] in visible] for source in SOURCES}
    rows, better, ours = [], [], next(iter(RULES))
    best: dict[str, tuple[int, float]] = {}
    for name in RULES:
        cells: list[str] = []
        for source, trials in mine.items():
            seen, seconds = sum(name in r["found"] for r in trials), sum(r["seconds"][name] for r in trials)
            best.setdefault(source, (seen, seconds))
            cells += [f"{seen} of {len(trials)}", f"{seconds:.1f}"]
            better += [f"{name} sees more on {source} problems"] if seen > best[source][0] else []
            better += [f"{name} is quicker on {source} problems"] if seconds < best[source][1] else []
        wrong, tried = (sum(r[key] for r in alarms) for key in (name, "problems"))
        rows.append((name, *cells, f"{wrong:,} in {tried:,}"))
    unseen = [r["fault"] for r in mine["ours"] if ours not in r["found"]]
    return {"rules": rows, "visible": len(visible), "unseen": unseen, "better": better}


def collect_sharpness(sights: list[Data]) -> Data:
    """Collect the least error that each rule sees, and how the rules compare for an error in the scale."""
    rows, ratios = [], []
    ours, twice, percent, _ = RULES
    for sight in sights:
        least = sight["smallest"]
        best = min(error for error in least.values() if error)
        shown = {
            name: f"{error:.1e}" if error else f"none, {sight['alarms'][name]} false alarms"
            for name, error in least.items()
        }
        cells = (f"**{shown[name]}**" if least[name] == best else shown[name] for name in RULES)
        rows.append((sight["profile"], sight["dtype"], sight["place"], *cells))
        if sight["place"] == "scale":
            factors = (f"{least[other] / least[ours]:.0f}" for other in (twice, percent))
            ratios.append((sight["profile"], sight["dtype"], *factors))
    return {"sharpness": rows, "ratios": ratios, "rule_names": list(RULES), "curve": sights[0]["problems"]}


def draw_figures(folder: Path, reports: list[Data], power: Data) -> list[str]:
    """Draw the figures; return the links to those of the ratios, one a device."""
    folder.mkdir(parents=True, exist_ok=True)
    plot_sharpness(power["sharpness"], power["errors"], folder / "sharpness.svg")
    names = []
    for device in dict.fromkeys(cell["device"] for _, cell, _ in _list_cells(reports)):
        cells = [
            cell | {"first": RatioSummary(**cell["first"])}
            for _, cell, _ in _list_cells(reports)
            if cell["device"] == device
        ]
        plot_ratios([Cell(**cell) for cell in cells], folder / f"soundness-{device}.svg")
        names.append(f"{folder.name}/soundness-{device}.svg")
    return names


def main(arguments: list[str] | None = None) -> None:
    """Print the page, and draw its figures if a folder is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=Path, nargs="+", required=True)
    parser.add_argument("--soundness", type=Path, nargs="+", required=True)
    parser.add_argument("--second", type=Path, nargs="*", default=[], help="more files, for the second judge alone")
    parser.add_argument("--power", type=Path, required=True)
    parser.add_argument("--figures", type=Path, help="a folder beside the page to draw the figures in")
    options = parser.parse_args(arguments)
    runs, reports = ([json.loads(path.read_text()) for path in paths] for paths in (options.faults, options.soundness))
    second = [json.loads(path.read_text()) for path in options.second]
    power = json.loads(options.power.read_text())
    flags = [report["flags"] for report in (*reports, power)]
    machines = dict.fromkeys(f"{f['device']}, torch {f['torch']}" for f in flags)
    page = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False).from_string(
        TEMPLATE.read_text()
    )
    parts = (
        collect_faults(runs)
        | collect_soundness(reports)
        | collect_second_judge(reports + second)
        | collect_generators(power["generators"])
    )
    parts |= collect_rules(power["judges"], power["alarms"]) | collect_sharpness(power["sharpness"])
    figures = draw_figures(options.figures, reports, power) if options.figures else []
    sys.stdout.write(page.render(machines=list(machines), figures=figures, **parts))


if __name__ == "__main__":
    main()
