"""Work on CUDA streams side by side, so that what is too small for the device leaves no part of it idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch


class StreamSwitch:
    """Who gets the work from now on. `torch.cuda.stream` would ask each time which device is current, for 20
    microseconds a turn.
    """

    def __init__(self, device: torch.device) -> None:
        self._current = torch.cuda.current_stream(device)
        self._aside, *self._others = _make_streams(device)
        self._given = [0] * len(self._others)

    def to_aside(self) -> None:
        """A stream for what is to be known early."""
        torch.cuda.set_stream(self._aside)

    def to_least_busy(self, work: int) -> None:
        """That of the others to which least work has been given."""
        i = self._given.index(min(self._given))
        self._given[i] += work
        torch.cuda.set_stream(self._others[i])

    def back(self) -> None:
        """The stream of the caller."""
        torch.cuda.set_stream(self._current)

    def begin(self) -> None:
        so_far = self._current.record_event()
        for stream in (self._aside, *self._others):
            stream.wait_event(so_far)

    def end(self) -> None:
        self.back()
        for stream in (self._aside, *self._others):
            self._current.wait_stream(stream)


@contextmanager
def side_by_side(device: torch.device) -> Iterator[StreamSwitch]:
    """All of it is done where this ends, as far as the stream that was current before can tell."""
    with torch.cuda.device(device):
        switch = StreamSwitch(device)
        switch.begin()
        try:
            yield switch
        finally:
            switch.end()


@cache
def _make_streams(device: torch.device) -> tuple[torch.cuda.Stream, ...]:
    stream: Any = torch.cuda.Stream
    return tuple(stream(device) for _ in range(4))
