"""A cell has one state, and rounds of it add up."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from verification.records.results import CellResult, State

EMPTY = CellResult("law", "float16", "cpu", "x")
HELD = replace(EMPTY, problems=10, outside=9, reasons={"it is short": 6, "it is long": 3}, ratio=0.5, histogram=(1,))
SILENT = replace(EMPTY, problems=4, outside=4, reasons={"it is long": 4})
BROKEN = replace(SILENT, failure="it broke\nin two lines")
MISSING = replace(EMPTY, skipped="no CUDA device")


@pytest.mark.parametrize(
    ("result", "state", "why"),
    [
        (HELD, State.HELD, ""),
        (SILENT, State.SAYS_NOTHING, "it is long"),
        (replace(SILENT, reasons={}), State.SAYS_NOTHING, "every problem was outside the law"),
        (BROKEN, State.BROKEN, "it broke\nin two lines"),
        (MISSING, State.NOT_RUN, "no CUDA device"),
        (EMPTY, State.NOT_REACHED, ""),
        (SILENT + HELD, State.HELD, ""),
        (HELD + BROKEN, State.BROKEN, "it broke\nin two lines"),
        (EMPTY + SILENT, State.SAYS_NOTHING, "it is long"),
        (MISSING + EMPTY, State.NOT_REACHED, ""),
        (MISSING + MISSING, State.NOT_RUN, "no CUDA device"),
        (MISSING + HELD, State.HELD, ""),
    ],
)
def test_states(result: CellResult, state: State, why: str) -> None:
    """One problem that was verified is enough for a pass, and none is not."""
    assert (result.state, result.why) == (state, why)


def test_the_words() -> None:
    """They are what every report shows."""
    assert [str(state) for state in State] == ["held", "broken", "says nothing", "not reached", "not run"]


def test_reasons_are_counted() -> None:
    """The most frequent first, and of many the first three."""
    both = HELD + SILENT
    assert both.reasons == {"it is long": 7, "it is short": 6}
    assert both.frequent_reasons == ["it is long", "it is short"]
    many = replace(SILENT, reasons={"a": 1, "b": 4, "c": 2, "d": 3})
    assert many.why == "b; d; c"


def test_rounds_add_up() -> None:
    """Counts by their sum, the ratio by its maximum."""
    both = HELD + replace(HELD, ratio=0.25, histogram=(0, 2), seconds=1.0)
    assert (both.problems, both.verified, both.ratio, both.histogram, both.seconds) == (20, 2, 0.5, (1, 2), 1.0)


def test_results_travel() -> None:
    """As plain data."""
    assert CellResult(**HELD.to_dict()) == HELD
    assert json.loads(json.dumps(HELD.to_dict()))["reasons"] == {"it is short": 6, "it is long": 3}
