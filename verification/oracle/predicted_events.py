"""Predictions of the warnings that a call owes, may log, and must not log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.problem.formats import Format
from verification.tensors.observation import Event

# Magnitude above which a range event is owed, by the contract of `attn_core`, which the reference does not import.
LIMIT = 1e4


@dataclass(frozen=True)
class Prediction:
    """A range event or an index event of one tensor, which the call owes, may log or must not log.

    A range event is optional where rounding may carry an extreme over the limit, and where ``optional`` says so. A
    prediction of a tensor that is within the limit says that there must be no event.
    """

    tensor: str
    """Name of the tensor in the event."""
    max: tuple[float, float] = (0.0, 0.0)
    """Interval in which the event's largest number must lie."""
    min: tuple[float, float] = (0.0, 0.0)
    """Interval in which the event's smallest number must lie."""
    nonfinite: bool = False
    """True if the tensor holds NaN or Inf for certain."""
    uncertain: bool = False
    """True if some number may overflow or be anything: then the event's extremes may be anything too."""
    dropped: int = 0
    """How many indices are left out; 0 in a range event."""
    optional: bool = False
    """True if the event is not owed, whatever the numbers are."""

    def __str__(self) -> str:
        if self.dropped:
            return f"{self.tensor}: {self.dropped} left out"
        if self.nonfinite:
            return f"{self.tensor}: NaN or Inf"
        return f"{self.tensor}: max in [{self.max[0]!r}, {self.max[1]!r}], min in [{self.min[0]!r}, {self.min[1]!r}]"

    @property
    def owed(self) -> bool:
        return not self.optional and self._out_of_range

    @property
    def allowed(self) -> bool:
        return self._out_of_range or self.uncertain or self.max[1] > LIMIT or self.min[0] < -LIMIT

    @property
    def _out_of_range(self) -> bool:
        return bool(self.dropped) or self.nonfinite or self.max[0] > LIMIT or self.min[1] < -LIMIT

    def agrees(self, event: Event) -> bool:
        """Return True if an event of this tensor says what it may say."""
        if self.dropped or event.dropped is not None:
            return event.dropped == self.dropped
        if self.uncertain:
            return bool(event.nonfinite) or not self.nonfinite
        if self.nonfinite != event.nonfinite or event.max is None or event.min is None:
            return False
        pairs = ((event.max, self.max), (event.min, self.min))
        return all(low <= got <= high or (np.isnan(low) and np.isnan(got)) for got, (low, high) in pairs)


def excuse_uncomputed(predictions: tuple[Prediction, ...], uncomputed: tuple[str, ...]) -> tuple[Prediction, ...]:
    """Return the predictions, optional for tensors that the backend may not have: see `Contract.uncomputed`."""
    return tuple(replace(p, optional=True) if p.tensor.startswith(uncomputed) else p for p in predictions)


def predict_dropped(name: str, count: int) -> list[Prediction]:
    """Return the index event of ``count`` indices of ``name`` that are left out, if there are any."""
    return [Prediction(name, dropped=count)] if count else []


def predict_range(
    name: str, x: NDArray[Any], bound: NDArray[Any] | None = None, rounded_to: Format | None = None
) -> list[Prediction]:
    """Return the range event of ``x``, known up to ``bound`` and returned in ``rounded_to``; none if ``x`` is empty."""
    if not x.size:
        return []
    if bound is None:
        largest, smallest = float(x.max()), float(x.min())
        finite = bool(np.isfinite(largest) and np.isfinite(smallest))
        return [Prediction(name, (largest, largest), (smallest, smallest), nonfinite=not finite)]
    above, below = x + bound, x - bound
    high = (float(below.max()), float(above.max()))
    low = (float(below.min()), float(above.min()))
    unsure = np.isinf(bound)
    overflow = rounded_to.overflow if rounded_to else np.inf
    return [
        Prediction(
            name,
            high,
            low,
            nonfinite=bool((~np.isfinite(x) & ~unsure).any()),
            uncertain=bool(unsure.any()) or high[1] >= overflow or low[0] <= -overflow,
        )
    ]
