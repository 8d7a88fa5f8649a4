"""Every law on every dtype, device and implementation: the properties, run."""

from __future__ import annotations

from pathlib import Path

import pytest

from properties.law import Law, OutsideLaw
from properties.run import Broken, fuzz
from tests.fuzz.cells import Cell, cells
from tests.fuzz.plugin import Budget
from verification.describe import describe
from verification.findings import Finding, save
from verification.json_io import to_json
from verification.judge import Violation
from verification.problem import Problem
from verification.results import CellResult


@pytest.mark.parametrize("cell", [pytest.param(cell, id=cell.id) for cell in cells()])
def test_law(cell: Cell, budget: Budget, record_cell) -> None:
    if reason := cell.cannot_run():
        record_cell(CellResult(cell.law.name, cell.dtype, cell.backend.device, cell.backend.name, skipped=reason))
        (pytest.fail if budget.require_cuda else pytest.skip)(reason)
    if budget.problem is not None:
        if budget.problem.dtype != cell.dtype or not cell.law.speaks_of(budget.problem, cell.backend.device):
            reason = f"the law does not speak of this {budget.problem.phase} in {budget.problem.dtype}"
            record_cell(CellResult(cell.law.name, cell.dtype, cell.backend.device, cell.backend.name, skipped=reason))
            pytest.skip(reason)
        result, broken = _replay(cell, budget.problem)
    else:
        result, broken = fuzz(cell.law, cell.backend, cell.dtype, budget.seed, budget.examples, budget.seconds_per_cell)
    record_cell(result)
    if broken is not None:
        pytest.fail(f"{_report(cell, broken)}\n{_keep(cell, broken, budget.findings)}", pytrace=False)


def _keep(cell: Cell, broken: Broken, folder: Path) -> str:
    """Where the finding is, or why it is nowhere but on the screen."""
    backend = cell.backend
    finding = Finding(broken.problem, cell.law.name, backend.name, backend.device, str(broken.violation))
    try:
        return f"Kept in {save(finding, folder)}"
    except OSError as error:
        return f"NOT KEPT in {folder}: {error.strerror or error}; the problem is the one above"


def _replay(cell: Cell, problem: Problem) -> tuple[CellResult, Broken | None]:
    identity = (cell.law.name, cell.dtype, cell.backend.device, cell.backend.name)
    try:
        verdict = cell.law.check(cell.backend, problem)
    except Violation as violation:
        return CellResult(*identity, problems=1), Broken(problem, violation)
    except OutsideLaw:
        return CellResult(*identity, problems=1, outside=1), None
    return CellResult(*identity, problems=1, score=verdict.score), None


def _report(cell: Cell, broken: Broken) -> str:
    law: Law = cell.law
    return "\n".join(
        (
            f"{law.name} is broken by {cell.backend.name} on {cell.backend.device}",
            f"\n    {law.statement}\n",
            str(broken.violation),
            "\nThe smallest problem found:",
            *(f"  {line}" for line in describe(broken.problem).splitlines()),
            "\nReplay it:",
            f"  python -m pytest tests/fuzz -k '{cell.id}' --problem '{to_json(broken.problem)}'",
        )
    )
