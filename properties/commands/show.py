"""``attn-verify show``: a drawing of a problem."""

from __future__ import annotations

import json as json_lib

from rich.console import Console

from properties.commands.given import read_finding
from properties.laws import LAWS
from verification.problem.describe import describe
from verification.reporting.draw import draw_problem


def run_show(given: str, json: bool) -> int:
    """Print a problem in words and as a drawing, with the law that it broke, and return 0. Raises ProblemError."""
    finding, console = read_finding(given), Console()
    if json:
        console.out(json_lib.dumps(finding.to_dict()))
        return 0
    if finding.law:
        statement = {law.name: law.statement for law in LAWS}.get(finding.law, "(no law has that name any more)")
        where = f" by {finding.backend} on {finding.device}" if finding.backend else ""
        console.print(f"{finding.law}, broken{where}", style="bold", markup=False, highlight=False)
        console.print(f"  {statement}\n", style="italic", markup=False, highlight=False)
    if finding.message:
        console.print(finding.message, markup=False, highlight=False)
    console.print(describe(finding.problem), markup=False, highlight=False)
    console.print(draw_problem(finding.problem))
    return 0
