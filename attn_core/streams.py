"""Work on CUDA streams side by side, so that work too small for the device leaves no part of it idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch


class StreamSwitch:
    """A switch between streams; it decides which stream gets the work from now on.

    `torch.cuda.stream` would ask each time which device is current, which takes 20 microseconds a turn.
    """

    def __init__(self, device: torch.device) -> None:
        self._current = torch.cuda.current_stream(device)
        self._aside, *self._others = _make_streams(device)
        self._given = [0] * len(self._others)

    def to_aside(self) -> None:
        """Switch to the stream for results that are needed early."""
        torch.cuda.set_stream(self._aside)

    def to_least_busy(self, work: int) -> None:
        """Switch to the one of the other streams that was given the least work so far."""
        i = self._given.index(min(self._given))
        self._given[i] += work
        torch.cuda.set_stream(self._others[i])

    def back(self) -> None:
        """Switch to the stream of the caller."""
        torch.cuda.set_stream(self._current)

    def begin(self) -> None:
        """Let every stream wait for the work that the caller's stream has been given so far."""
        so_far = self._current.record_event()
        for stream in (self._aside, *self._others):
            stream.wait_event(so_far)

    def end(self) -> None:
        """Switch to the stream of the caller and let it wait for every other stream."""
        self.back()
        for stream in (self._aside, *self._others):
            self._current.wait_stream(stream)


@contextmanager
def side_by_side(device: torch.device) -> Iterator[StreamSwitch]:
    """Spread the work of a ``with`` block over streams; the caller's stream goes on when all of it is done."""
    with torch.cuda.device(device):
        switch = StreamSwitch(device)
        switch.begin()
        try:
            yield switch
        finally:
            switch.end()


@cache
def _make_streams(device: torch.device) -> tuple[torch.cuda.Stream, ...]:
    """Return four streams of a device; they are made once."""
    stream: Any = torch.cuda.Stream
    # One aside and three for the work: three made a prefill 1.15 times as fast as a loop over SDPA, two 1.12 times.
    return tuple(stream(device) for _ in range(4))
