"""Every law in every dtype on every device, as tests: a few problems each, for ``pytest -k`` and for a debugger.
``attn-verify fuzz`` tries thousands.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from properties.run.cells import Cell
from properties.run.round import fuzz
from verification.backends.flags import settle
from verification.problem.describe import describe
from verification.problem.json_io import to_json
from verification.records.results import State


def test_law(law_cell: Cell, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    """Pass where the law held, fail where it is broken, and be skipped with the reason where nothing was verified."""
    option = request.config.getoption
    if reason := law_cell.cannot_run():
        record_property("state", State.NOT_RUN)
        (pytest.fail if option("require_cuda") else pytest.skip)(f"{State.NOT_RUN}: {reason}")
    settle()
    seed, examples = option("problem_seed"), option("problems")
    result, broken, _ = fuzz(law_cell.law, law_cell.backend, law_cell.dtype, seed, examples)
    record_property("state", result.state)
    if broken:
        law, violation = law_cell.law.statement, broken.violation
        command = f"attn-verify replay --backend {law_cell.source} '{to_json(broken.problem)}'"
        told = f"{result.state}: {law}\n{violation}\n{describe(broken.problem)}\n{command}"
        pytest.fail(told, pytrace=False)
    if result.state is not State.HELD:
        pytest.skip(f"{result.state}: {result.why}")
