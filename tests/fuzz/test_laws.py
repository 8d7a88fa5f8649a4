"""Every law in every dtype on every device, as tests: a few problems each, for ``pytest -k`` and for a debugger.
``attn-verify fuzz`` tries thousands.
"""

from __future__ import annotations

import pytest

from properties.cells import Cell, cells
from properties.run import fuzz
from verification.describe import describe
from verification.json_io import to_json

SEED, EXAMPLES = 0, 25


@pytest.mark.parametrize("cell", [pytest.param(cell, id=cell.id) for cell in cells(["attn_core/eager"])])
def test_law(cell: Cell, request: pytest.FixtureRequest) -> None:
    """It holds."""
    if reason := cell.cannot_run():
        (pytest.fail if request.config.getoption("require_cuda") else pytest.skip)(reason)
    result, broken, _ = fuzz(cell.law, cell.backend, cell.dtype, SEED, EXAMPLES)
    if broken:
        problem = f"{describe(broken.problem)}\nattn-verify replay '{to_json(broken.problem)}'"
        pytest.fail(f"{cell.law.statement}\n{broken.violation}\n{problem}", pytrace=False)
    assert result.problems == EXAMPLES
