"""Warnings captured as data, whatever the process has done to its loggers, and nothing left behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from verification.backends.captured_events import INDEX_LOG, RANGE_LOG, captured_events
from verification.tensors.observation import Event

LOGGERS = [logging.getLogger(name) for name in (RANGE_LOG, INDEX_LOG)]
RANGE = {"tensor": "q", "max": 2e4, "min": -1.0, "nonfinite": False}


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Tests below change loggers."""
    before = [(logger.level, logger.propagate, logger.disabled) for logger in LOGGERS]
    yield
    for logger, (level, propagate, disabled) in zip(LOGGERS, before, strict=True):
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled


def test_fields_are_kept() -> None:
    """Of both loggers, in the order of logging."""
    with captured_events() as events:
        LOGGERS[0].warning("numeric overflow", extra=RANGE)
        LOGGERS[1].warning("left out", extra={"tensor": "slot_mapping", "dropped": 3})
    assert events == [Event("q", 2e4, -1.0, False), Event("slot_mapping", dropped=3)]


def test_a_record_without_fields_is_its_message() -> None:
    """It is seen, and not taken for one that is owed."""
    with captured_events() as events:
        LOGGERS[0].warning("odd %d", 3)
    assert events == [Event("odd 3")]


def test_less_than_a_warning_is_no_event() -> None:
    """Chatter is not part of the contract."""
    with captured_events() as events:
        LOGGERS[0].info("chatter", extra=RANGE)
    assert events == []


@pytest.mark.parametrize("change", [("setLevel", logging.CRITICAL), ("disabled", True), ("propagate", False)])
def test_logger_settings_do_not_matter(change: tuple[str, object]) -> None:
    """A silenced logger is heard, and is silenced again afterwards."""
    name, value = change
    if name == "setLevel":
        LOGGERS[0].setLevel(value)  # type: ignore[arg-type]
    else:
        setattr(LOGGERS[0], name, value)
    before = (LOGGERS[0].level, LOGGERS[0].propagate, LOGGERS[0].disabled, list(LOGGERS[0].handlers))
    with captured_events() as events:
        LOGGERS[0].warning("x", extra=RANGE)
    assert len(events) == 1
    assert (LOGGERS[0].level, LOGGERS[0].propagate, LOGGERS[0].disabled, list(LOGGERS[0].handlers)) == before


def test_the_roots_level_does_not_matter() -> None:
    """The loggers inherit it."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        with captured_events() as events:
            LOGGERS[1].warning("x", extra={"tensor": "t", "dropped": 1})
    finally:
        root.setLevel(level)
    assert len(events) == 1


def test_nothing_reaches_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    """A fuzz run is no log."""
    with captured_events():
        LOGGERS[0].warning("x", extra=RANGE)
    assert caplog.records == []


def test_an_error_inside_restores_the_loggers() -> None:
    """And the events so far are there."""
    handlers = list(LOGGERS[0].handlers)
    events: list[Event] = []

    def fail() -> None:
        with captured_events() as captured:
            LOGGERS[0].warning("x", extra=RANGE)
            events.extend(captured)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert len(events) == 1
    assert LOGGERS[0].handlers == handlers


def test_captures_do_not_see_each_others_past() -> None:
    """Each has a list of its own."""
    with captured_events() as first:
        LOGGERS[0].warning("x", extra=RANGE)
    with captured_events() as second:
        pass
    assert (len(first), second) == (1, [])
