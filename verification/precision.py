"""What a backend is allowed to round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from verification.formats import FORMATS, Format

INPUT = "input"


@dataclass(frozen=True)
class Precision:
    """The formats in which a backend accumulates, keeps scores, keeps probabilities before the second product, and
    returns. ``"input"`` is the problem's own format. ``scaled_query``: the scale was folded into ``q`` and rounded to
    ``q``'s format. ``truncating``: the accumulator rounds toward zero, which doubles its unit roundoff.

    ``probabilistic``: 0 for the bound that always holds; else lambda, for one that a sum breaks with a probability of
    at most ``2 exp(-lambda^2 / 2)``, and that grows with the root of its length (Higham and Mary, A New Approach to
    Probabilistic Rounding Error Analysis, 2019, theorem 2.4).
    """

    accumulate: str = "float32"
    scores: str = "float32"
    probabilities: str = "float32"
    output: str = INPUT
    scaled_query: bool = False
    truncating: bool = False
    probabilistic: float = 0.0

    @cache  # noqa: B019 (a profile is frozen and lives as long as its backend)
    def resolve(self, dtype: str) -> Roundings:
        """The profile for inputs of ``dtype``: a float64 problem is accumulated in float64 throughout."""

        def fmt(name: str) -> Format:
            name = dtype if name == INPUT else name
            return FORMATS["float64" if dtype == "float64" else name]

        accumulate = fmt(self.accumulate)
        return Roundings(
            accumulate=accumulate,
            unit=accumulate.unit * (2 if self.truncating else 1),
            scores=fmt(self.scores),
            probabilities=fmt(self.probabilities),
            output=fmt(self.output),
            query=FORMATS[dtype] if self.scaled_query else None,
            probabilistic=self.probabilistic,
        )


@dataclass(frozen=True)
class Roundings:
    """A `Precision` for one input format. ``query`` is the format of a scaled query, None where there is none."""

    accumulate: Format
    unit: float
    scores: Format
    probabilities: Format
    output: Format
    query: Format | None
    probabilistic: float = 0.0

    @cached_property
    def total_unit(self) -> float:
        """Of the accumulator and of the float64 reference itself, which is no better than a float64 backend."""
        return self.unit + FORMATS["float64"].unit

    @cached_property
    def scores_cast(self) -> float:
        return self.scores.unit if self.scores != self.accumulate else 0.0

    @cached_property
    def probabilities_cast(self) -> float:
        return self.probabilities.unit if self.probabilities != self.accumulate else 0.0

    @cached_property
    def lost_weight(self) -> float:
        """What a weight may lose below its format's normal range; below the accumulator's it may be flushed to 0."""
        below_cast = self.probabilities.smallest_subnormal / 2 if self.probabilities_cast else 0.0
        return self.accumulate.smallest_normal + below_cast
