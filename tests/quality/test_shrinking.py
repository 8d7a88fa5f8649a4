"""Shrink quality: known faults end at the problems that a person would have written."""

from __future__ import annotations

import pytest

from tests.quality.minimal import CHOSEN, SNAPSHOT, minimal

KEPT = dict(zip(CHOSEN, SNAPSHOT.read_text().strip().split("\n\n"), strict=True))


QUICK = ("mask-one-future", "slot-wraps", "gqa-tile", "log-one-sided")
EACH = [pytest.param(fault, marks=() if fault in QUICK else pytest.mark.slow) for fault in CHOSEN]


@pytest.mark.parametrize("fault", EACH)
def test_the_minimal_problem_is_the_one_that_was_kept(fault: str) -> None:
    """A worse one is a regression; a better one wants the snapshot written anew."""
    assert minimal(fault) == KEPT[fault]
