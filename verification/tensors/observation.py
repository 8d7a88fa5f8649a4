"""All that can be seen of an answer, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from verification.tensors.arena import Bytes
from verification.tensors.materialize import Tensors


@dataclass(frozen=True)
class Event:
    """A range event carries ``max``, ``min`` and ``nonfinite``; an index event carries ``dropped``."""

    tensor: str
    max: float | None = None
    min: float | None = None
    nonfinite: bool | None = None
    dropped: int | None = None

    def __str__(self) -> str:
        if self.dropped is not None:
            return f"{self.tensor}: {self.dropped} left out"
        finite = "with NaN or Inf" if self.nonfinite else "finite"
        return f"{self.tensor}: max {self.max!r}, min {self.min!r}, {finite}"


@dataclass(frozen=True)
class Observation:
    """The output ``[T, H, D]`` (None where ``error`` was raised), the arena's bytes after the call, the log."""

    tensors: Tensors
    output: NDArray[Any] | None
    memory: Bytes
    events: tuple[Event, ...]
    error: Exception | None
