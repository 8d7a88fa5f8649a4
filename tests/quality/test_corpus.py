"""The corpus is worth keeping: each of its problems still shows the fault that it was made for."""

from __future__ import annotations

import pytest

from properties.laws import LAWS
from tests.fuzz.test_corpus import CORPUS
from verification.faults import FAULTS
from verification.findings import kept
from verification.judge import Violation

KEPT = {name.removesuffix(".json"): finding for name, finding in kept(CORPUS).items()}
BY_NAME = {law.name: law for law in LAWS}


def test_every_fault_has_a_problem() -> None:
    """Named by its id."""
    assert set(FAULTS) <= set(KEPT)


@pytest.mark.parametrize("fault", FAULTS)
def test_its_law_still_breaks_on_it(fault: str) -> None:
    """Without any search."""
    finding = KEPT[fault]
    with pytest.raises(Violation):
        BY_NAME[finding.law].check(FAULTS[fault].backend(), finding.problem)
