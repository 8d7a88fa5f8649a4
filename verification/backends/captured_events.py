"""The warnings of a call, captured as data."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from verification.tensors.observation import Event

RANGE_LOG, INDEX_LOG = "attn_core.numeric_range", "attn_core.invalid_index"


@contextmanager
def captured_events() -> Iterator[list[Event]]:
    """Collect the events of both loggers, at any log configuration, and keep them from reaching other handlers."""
    globally_disabled = logging.root.manager.disable
    if globally_disabled:
        logging.disable(logging.NOTSET)
    handler = _Collector()
    loggers = [logging.getLogger(name) for name in (RANGE_LOG, INDEX_LOG)]
    before = [(logger.level, logger.propagate, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = logger.disabled = False
        if not logger.isEnabledFor(
            logging.WARNING
        ):  # only then, since a change of level clears the cache of all loggers
            logger.setLevel(logging.WARNING)
    try:
        yield handler.events
    finally:
        if globally_disabled:
            logging.disable(globally_disabled)
        for logger, (level, propagate, disabled) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.propagate, logger.disabled = propagate, disabled
            if logger.level != level:
                logger.setLevel(level)


def log_again(events: Iterable[Event]) -> None:
    """Log events that were captured in another process, for the listeners of this one."""
    for event in events:
        logger = logging.getLogger(RANGE_LOG if event.dropped is None else INDEX_LOG)
        logger.warning("%s", event, extra=asdict(event))


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.events: list[Event] = []

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: getattr(record, name, None) for name in ("max", "min", "nonfinite", "dropped")}
        self.events.append(Event(str(getattr(record, "tensor", record.getMessage())), **fields))
