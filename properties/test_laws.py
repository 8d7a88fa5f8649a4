"""Every law in every dtype on every device, as tests: a few problems each, for ``pytest -k`` and for a debugger.
``attn-verify fuzz`` tries thousands.
"""

from __future__ import annotations

import pytest

from properties.run.cells import Cell
from properties.run.round import fuzz
from verification.backends.flags import settle
from verification.problem.describe import describe
from verification.problem.json_io import to_json


def test_law(law_cell: Cell, request: pytest.FixtureRequest) -> None:
    """It holds."""
    option = request.config.getoption
    if reason := law_cell.cannot_run():
        (pytest.fail if option("require_cuda") else pytest.skip)(reason)
    settle()
    seed, examples = option("problem_seed"), option("problems")
    result, broken, _ = fuzz(law_cell.law, law_cell.backend, law_cell.dtype, seed, examples)
    if broken:
        law, violation = law_cell.law.statement, broken.violation
        command = f"attn-verify replay --backend {law_cell.source} '{to_json(broken.problem)}'"
        pytest.fail(f"{law}\n{violation}\n{describe(broken.problem)}\n{command}", pytrace=False)
    assert result.problems == examples
