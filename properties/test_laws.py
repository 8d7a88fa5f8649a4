"""Every law in every dtype on every device, as tests: a few problems each, for ``pytest -k`` and for a debugger.
``attn-verify fuzz`` tries thousands.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attn_verify_plugin import VERIFIED
from properties.check.kernel import check_cell
from properties.check.message import explain_broken
from properties.run.cells import Cell
from verification.backends.flags import settled


def test_law(attn_law_cell: Cell, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]) -> None:
    """The law holds. One that says nothing or cannot run is skipped, with the reason."""
    cell, option = attn_law_cell, pytestconfig.getoption
    with settled():
        checked, broken = check_cell(cell.law, cell.backend, cell.dtype, option("attn_problems"), option("attn_seed"))
    record_property(VERIFIED, checked.verified)
    record_property("state", str(checked.state))
    if broken:
        told = explain_broken(cell.law, broken, cell.source, cell.backend.device)
        pytest.fail(f"{checked.state}: {told}", pytrace=False)
    if checked.state == "not run" and option("attn_require_cuda"):
        pytest.fail(f"{checked.state}: {checked.why}")
    if checked.state != "held":
        pytest.skip(f"{checked.state}: {checked.why}")
