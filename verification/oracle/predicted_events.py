"""Which warnings a call owes, and which it may not give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.problem.formats import Format
from verification.tensors.observation import Event

LIMIT = 1e4


@dataclass(frozen=True)
class Prediction:
    """An event by name, with the interval in which each extreme must lie, or the count of what was dropped.

    Rounding may carry an extreme over the limit; only there is the event optional, and where ``optional`` says so. A
    range prediction that holds nothing to warn of still says that there must be no event.
    """

    tensor: str
    max: tuple[float, float] = (0.0, 0.0)
    min: tuple[float, float] = (0.0, 0.0)
    nonfinite: bool = False
    uncertain: bool = False
    dropped: int = 0
    optional: bool = False

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
        """Whether an event of this name says what it may say."""
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


def dropped(name: str, count: int) -> list[Prediction]:
    """``count`` indices of ``name`` were left out."""
    return [Prediction(name, dropped=count)] if count else []


def measured(
    name: str, x: NDArray[Any], bound: NDArray[Any] | None = None, rounded_to: Format | None = None
) -> list[Prediction]:
    """The range event of ``x``, known up to ``bound``, and returned in ``rounded_to``."""
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
