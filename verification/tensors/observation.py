"""Observations: all that can be seen of an answer, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from verification.tensors.arena import Bytes
from verification.tensors.materialize import Arena


@dataclass(frozen=True)
class Event:
    """A warning that was logged. A range event has ``max``, ``min`` and ``nonfinite``, an index event ``dropped``."""

    tensor: str
    """Name of the tensor that the warning is about."""
    max: float | None = None
    min: float | None = None
    nonfinite: bool | None = None
    dropped: int | None = None
    """How many indices were left out."""

    def __str__(self) -> str:
        if self.dropped is not None:
            return f"{self.tensor}: {self.dropped} left out"
        finite = "with NaN or Inf" if self.nonfinite else "finite"
        return f"{self.tensor}: max {self.max!r}, min {self.min!r}, {finite}"


@dataclass(frozen=True)
class Answer:
    """All that the process which makes a call can see of it."""

    outputs: dict[str, NDArray[Any]]
    """Outputs by their names in `table.OUTPUTS`; empty where ``error`` was raised."""
    memory: Bytes
    """The arena's bytes after the call."""
    events: tuple[Event, ...]
    error: BaseException | None
    """The exception that the call raised; None where it returned."""


@dataclass(frozen=True)
class Observation(Answer):
    """An answer beside the arena that was handed over; outputs have the shapes of `table.OUTPUTS`, if they fit."""

    arena: Arena

    @property
    def output(self) -> NDArray[Any] | None:
        """Return the output named ``"out"``, ``[T, H, D]``; None where there is none."""
        return self.outputs.get("out")
