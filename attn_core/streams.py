"""Work on CUDA streams side by side, so that what is too small for the device leaves no part of it idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from typing import Any

import torch

Turn = AbstractContextManager[object]


@contextmanager
def side_by_side(device: torch.device) -> Iterator[tuple[Callable[[], Turn], Callable[[int], Turn]]]:
    """``with aside():`` is a stream for what is to be known early; ``with least_busy(work):`` is that of the two others
    to which less work has been given. All of it is done where this ends, as far as the current stream can tell.
    """
    current, streams = torch.cuda.current_stream(device), _streams(device)
    for stream in streams:
        stream.wait_stream(current)
    given = dict.fromkeys(streams[1:], 0)

    def least_busy(work: int) -> Turn:
        stream = min(given, key=given.__getitem__)
        given[stream] += work
        return torch.cuda.stream(stream)

    try:
        yield partial(torch.cuda.stream, streams[0]), least_busy
    finally:
        for stream in streams:
            current.wait_stream(stream)


@cache
def _streams(device: torch.device) -> tuple[torch.cuda.Stream, ...]:
    stream: Any = torch.cuda.Stream
    return tuple(stream(device) for _ in range(3))
