"""What a backend is allowed to round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from verification.problem.formats import FORMATS, Format

INPUT = "input"


@dataclass(frozen=True)
class Precision:
    """The formats in which a backend accumulates, keeps scores, keeps probabilities before the second product, and
    returns. ``"input"`` is the problem's own format. ``scaled_query``: the scale was folded into ``q`` and rounded to
    ``q``'s format; ``rounded_scale``: so was the scale itself. ``truncating``: the accumulator rounds toward 0, which
    doubles its unit roundoff.
    ``unscaled_scores``: scores are kept before the scale is applied, so their format must hold the plain product.
    ``exp_error``: relative, of an exp that is only good enough for the narrow formats, and used for those alone.
    ``partials``: the format in which a split decode keeps the outputs of its parts, beside their log-sum-exps in the
    accumulator's; empty where nothing is split.
    ``flushing``: a product or sum below the accumulator's normal range may become 0, and so may what goes into it.

    ``probabilistic``: 0 for the bound that always holds; else lambda, for one that a sum breaks with a probability of
    at most ``2 exp(-lambda^2 / 2)``, and that grows with the root of its length (Higham and Mary, A New Approach to
    Probabilistic Rounding Error Analysis, 2019, theorem 2.4).
    """

    accumulate: str = "float32"
    scores: str = "float32"
    probabilities: str = "float32"
    output: str = INPUT
    scaled_query: bool = False
    rounded_scale: bool = False
    truncating: bool = False
    unscaled_scores: bool = False
    exp_error: float = 0.0
    partials: str = ""
    flushing: bool = False
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
            scale_cast=FORMATS[dtype].unit if self.rounded_scale else 0.0,
            unscaled_scores=self.unscaled_scores,
            exp_error=self.exp_error if FORMATS[dtype].precision < 24 else 0.0,
            partials=fmt(self.partials) if self.partials else None,
            flushing=self.flushing,
            probabilistic=self.probabilistic,
        )


@dataclass(frozen=True)
class Roundings:
    """A `Precision` for one input format. ``query`` is the format of a scaled query, None where there is none;
    ``scale_cast`` is what rounding the scale costs.
    """

    accumulate: Format
    unit: float
    scores: Format
    probabilities: Format
    output: Format
    query: Format | None
    scale_cast: float = 0.0
    unscaled_scores: bool = False
    exp_error: float = 0.0
    partials: Format | None = None
    flushing: bool = False
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
    def partials_cast(self) -> float:
        """Relative, of an output of a part: its format, its share (a product and a quotient), their sum."""
        if self.partials is None:
            return 0.0
        return 4 * self.unit + (self.partials.unit if self.partials != self.accumulate else 0.0)

    @cached_property
    def lost_weight(self) -> float:
        """What a weight may lose below its format's normal range. An exp may flush to 0 whatever lies below the
        accumulator's, and one that builds 2^n as 2 * 2^(n - 1) what lies below twice that.
        """
        below_cast = self.probabilities.smallest_subnormal / 2 if self.probabilities_cast else 0.0
        return 2 * self.accumulate.smallest_normal + below_cast

    @cached_property
    def lost_term(self) -> float:
        """What a product of the second sum may lose by underflow, as the sum that it goes into may."""
        return 3 * self.accumulate.smallest_normal if self.flushing else 2 * self.accumulate.smallest_subnormal
