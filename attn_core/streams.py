"""Work on two CUDA streams, so that what is too small for the device leaves no part of it idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from itertools import cycle
from typing import Any

import torch


@contextmanager
def side_by_side(device: torch.device) -> Iterator[Callable[[], AbstractContextManager[object]]]:
    """Every other ``with turn():`` inside goes to the other stream. All of it is done where this ends, as far as the
    current stream can tell.
    """
    current, streams = torch.cuda.current_stream(device), _streams(device)
    for stream in streams:
        stream.wait_stream(current)
    turns = cycle(streams)
    try:
        yield lambda: torch.cuda.stream(next(turns))
    finally:
        for stream in streams:
            current.wait_stream(stream)


@cache
def _streams(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    stream: Any = torch.cuda.Stream
    return stream(device), stream(device)
