"""Events as they happen, one JSON object a line: for machines, and for a report made of several runs."""

from __future__ import annotations

from typing import TextIO

from verification.reporting.events import Event
from verification.reporting.lines import to_line


class JsonLines:
    """Written at once, so that what was done so far outlives the process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def receive(self, event: Event) -> None:
        self._stream.write(f"{to_line(event)}\n")
        self._stream.flush()
