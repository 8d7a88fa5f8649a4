"""Exactly the warnings that are owed: no more, no fewer, each once, each right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from verification.oracle.judge import Violation, judge_events
from verification.oracle.predicted_events import Prediction
from verification.tensors.observation import Event

OWED = Prediction("q", max=(2e4, 2e4), min=(-1.0, -1.0))
OPTIONAL = Prediction("out", max=(9990.0, 10010.0), min=(0.0, 0.0))
FORBIDDEN = Prediction("k", max=(5.0, 5.0), min=(-5.0, -5.0))
SLOTS = Prediction("slot_mapping", dropped=2)
ALL = (OWED, OPTIONAL, FORBIDDEN, SLOTS)
Q = Event("q", max=2e4, min=-1.0, nonfinite=False)
OUT = Event("out", max=10005.0, min=0.0, nonfinite=False)
DROPPED = Event("slot_mapping", dropped=2)


@pytest.mark.parametrize("events", [(Q, DROPPED), (DROPPED, Q), (Q, OUT, DROPPED)])
def test_what_is_owed_and_what_is_optional(events: tuple[Event, ...]) -> None:
    """In any order."""
    judge_events(events, ALL)


def test_nothing_owed_nothing_logged() -> None:
    """An ordinary call."""
    judge_events((), (FORBIDDEN, OPTIONAL))
    judge_events((), ())


@pytest.mark.parametrize(
    ("events", "at_fault"),
    [
        ((DROPPED,), "q"),
        ((Q,), "slot_mapping"),
        ((), "q"),
        ((Q, DROPPED, Event("k", max=2e4, min=0.0, nonfinite=False)), "k"),
        ((Q, DROPPED, Event("numeric overflow in q")), "numeric overflow in q"),
        ((Q, Q, DROPPED), "2.* q"),
        ((Q, DROPPED, DROPPED), "2.* slot_mapping"),
        ((Q, DROPPED, OUT, OUT), "2.* out"),
        ((replace(Q, max=2e4 + 1), DROPPED), "q.*20001"),
        ((replace(Q, min=0.0), DROPPED), "q"),
        ((replace(Q, nonfinite=True), DROPPED), "q"),
        ((Event("q"), DROPPED), "q"),
        ((Q, Event("slot_mapping", dropped=3)), "slot_mapping.*3"),
        ((Q, Event("slot_mapping", max=2e4, min=0.0, nonfinite=False)), "slot_mapping.*20000"),
        ((Q, DROPPED, replace(OUT, max=10011.0)), "out.*10011"),
    ],
)
def test_violations_name_what_is_at_fault(events: tuple[Event, ...], at_fault: str) -> None:
    """Missing, extra, doubled, wrong extreme, wrong kind, wrong count."""
    with pytest.raises(Violation, match=rf"\b{at_fault}\b"):
        judge_events(events, ALL)
