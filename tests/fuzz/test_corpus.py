"""The problems worth keeping, under every law, before anything new is tried."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from properties.law import Law, OutsideLaw
from properties.laws import LAWS
from tests.fuzz.cells import Cell, backends
from tests.fuzz.plugin import Budget
from verification.backend import Backend
from verification.findings import kept
from verification.judge import Verdict, Violation
from verification.problem import Problem
from verification.results import CellResult

CORPUS = Path(__file__).parents[2] / "corpus"


def every_law_holds(backend: Backend, problem: Problem) -> Verdict:
    """Every law that speaks of the problem holds: the one that once broke on it may have another name by now."""
    score, said = 0.0, False
    for law in LAWS:
        if law.speaks_of(problem, backend.device):
            try:
                score, said = max(score, law.check(backend, problem).score), True
            except OutsideLaw:
                continue
            except Violation as violation:
                raise Violation(f"{law.name}: {violation}") from None
    if not said:
        raise OutsideLaw
    return Verdict(score)


def in_dtype(problem: Problem, dtype: str) -> Problem | None:
    """The same problem there; None where its numbers or its cache are of its own dtype."""
    if problem.dtype == dtype:
        return problem
    return None if problem.numbers or problem.cache_dtype else replace(problem, dtype=dtype)


CELLS = [Cell(Law(every_law_holds), dtype, backend) for backend in backends() for dtype in backend.contract.dtypes]


@pytest.mark.parametrize("cell", [pytest.param(cell, id=cell.id.replace(cell.law.name, "corpus")) for cell in CELLS])
def test_corpus(cell: Cell, budget: Budget, record_cell) -> None:
    """A file is named where a law breaks on it; all of them are tried."""
    identity = ("corpus", cell.dtype, cell.backend.device, cell.backend.name)
    found = {name: in_dtype(finding.problem, cell.dtype) for name, finding in kept(CORPUS).items()}
    replayed = {name: problem for name, problem in found.items() if problem}
    if reason := cell.cannot_run() or ("one problem was asked for" if budget.problem else ""):
        record_cell(CellResult(*identity, skipped=reason))
        (pytest.fail if budget.require_cuda and cell.cannot_run() else pytest.skip)(reason)
    start, broken, outside, score = time.monotonic(), [], 0, 0.0
    for name, problem in replayed.items():
        try:
            score = max(score, cell.law.check(cell.backend, problem).score)
        except OutsideLaw:
            outside += 1
        except Violation as violation:
            broken.append(f"corpus/{name}: {violation}")
    seconds = time.monotonic() - start
    record_cell(CellResult(*identity, problems=len(replayed), outside=outside, score=score, seconds=seconds))
    if broken:
        pytest.fail("\n".join(broken), pytrace=False)
