"""Declarations of what a backend rounds, and the roundings that follow from one for a dtype."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from verification.problem.declarations import Check, amount, flag, one_of, told
from verification.problem.formats import FORMATS, Format

INPUT = "input"
_FORMAT = one_of((INPUT, *FORMATS))
_CHECKS: dict[str, Check] = {
    **dict.fromkeys(("accumulate", "scores", "probabilities", "output"), _FORMAT),
    "partials": one_of(("", INPUT, *FORMATS)),
    "weights_summed": one_of(("before", "after")),
    "merge": one_of(("quotient", "lse")),
    **dict.fromkeys(("scaled_query", "rounded_scale", "truncating", "unscaled_scores", "flushing"), flag),
    **dict.fromkeys(("exp_error", "probabilistic"), amount),
}


@dataclass(frozen=True)
class Precision:
    """The formats in which a backend rounds on its way to an answer, and what else its arithmetic may lose. A misspelt
    field raises ValueError or TypeError in one line that names it.
    """

    accumulate: str = "float32"
    """Format of sums and of all between them: a name in `FORMATS`, or "input", the format of the problem."""
    scores: str = "float32"
    """Format in which the products of queries and keys are kept; a name in `FORMATS`, or "input"."""
    probabilities: str = "float32"
    """Format in which the weights are kept before the second product; a name in `FORMATS`, or "input"."""
    output: str = INPUT
    """Format that is returned; a name in `FORMATS`, or "input"."""
    scaled_query: bool = False
    """True if the scale is folded into q, and that rounded to the format of q."""
    rounded_scale: bool = False
    """True if the scale itself is rounded to the format of q."""
    truncating: bool = False
    """True if the accumulator rounds toward 0, which doubles its unit roundoff."""
    unscaled_scores: bool = False
    """True if scores are kept before the scale is applied, so that their format must hold the plain product."""
    exp_error: float = 0.0
    """Relative error, 0 or more, of an exp that is good enough for the narrow formats only, and used for no others."""
    partials: str = ""
    """Format in which a split decode keeps the outputs of its parts, beside their log-sum-exps in the accumulator's: a
    name in `FORMATS`, or "input"; empty where nothing is split."""
    merge: str = "quotient"
    """Weights of the parts of a split decode: "quotient" if they are divided by their own sum, "lse" if they are
    ``exp(lse_i - lse)``, whose sum is 1 but for rounding; "lse" needs `partials`."""
    weights_summed: str = "before"
    """Weights that are summed: those "before" their cast to `probabilities`, or those "after" it, which the second
    product takes, as where a column of ones stands beside the values."""
    flushing: bool = False
    """True if a product or sum below the accumulator's normal range may become 0, and so may what goes into it."""
    probabilistic: float = 0.0
    """0 for the bound that always holds; else lambda, for one that grows with the root of a sum's length, and that a
    sum breaks with a probability of at most ``2 exp(-lambda^2 / 2)`` (Higham and Mary, A New Approach to Probabilistic
    Rounding Error Analysis, 2019, theorem 2.4)."""

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            object.__setattr__(self, name, check(name, getattr(self, name)))
        if self.merge != "quotient" and not self.partials:
            raise ValueError(told("merge", self.merge, "be 'quotient' where nothing is split: partials is ''"))

    @cache  # noqa: B019 (a profile is frozen and lives as long as its backend)
    def resolve(self, dtype: str) -> Roundings:
        """Return the profile for inputs of ``dtype``: a float64 problem is accumulated in float64 throughout."""

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
            sums_what_is_cast=self.weights_summed == "after",
            merges_by_lse=self.merge == "lse",
            flushing=self.flushing,
            probabilistic=self.probabilistic,
        )


@dataclass(frozen=True)
class Roundings:
    """A `Precision` for one input format."""

    accumulate: Format
    """Format of sums."""
    unit: float
    """Unit roundoff of a sum: the accumulator's, twice that where it truncates."""
    scores: Format
    """Format in which scores are kept."""
    probabilities: Format
    """Format in which weights are kept before the second product."""
    output: Format
    """Format that is returned."""
    query: Format | None
    """Format of a query that the scale was folded into; None where it was not."""
    scale_cast: float = 0.0
    """Relative error of a rounded scale; 0 where it is not rounded."""
    unscaled_scores: bool = False
    """True if the format of scores must hold the product before the scale."""
    exp_error: float = 0.0
    """Relative error of exp, beyond the rounding of its result."""
    partials: Format | None = None
    """Format of the outputs of parts; None where nothing is split."""
    sums_what_is_cast: bool = False
    """True if the weights are summed after their cast."""
    merges_by_lse: bool = False
    """True if the weights of parts are not divided by their own sum."""
    flushing: bool = False
    """True if subnormal numbers may become 0."""
    probabilistic: float = 0.0
    """Lambda of a bound that holds with some probability; 0 for the one that always holds."""

    @cached_property
    def total_unit(self) -> float:
        """Unit roundoff of the accumulator and of the reference together, which is no better than a float64 backend."""
        return self.unit + FORMATS["float64"].unit

    @cached_property
    def scores_cast(self) -> float:
        return self.scores.unit if self.scores != self.accumulate else 0.0

    @cached_property
    def probabilities_cast(self) -> float:
        return self.probabilities.unit if self.probabilities != self.accumulate else 0.0

    @cached_property
    def cast_of_both_sums(self) -> float:
        """Relative error of a weight that its cast leaves in its own sum as well, so that the row stays a mean."""
        return self.probabilities_cast if self.sums_what_is_cast else 0.0

    @cached_property
    def cast_of_values_sum(self) -> float:
        """Relative error of a weight that its cast leaves in the sum of the values alone."""
        return 0.0 if self.sums_what_is_cast else self.probabilities_cast

    @cached_property
    def partials_cast(self) -> float:
        """Relative, of an output of a part: its format, its share (a product and a quotient), their sum."""
        if self.partials is None:
            return 0.0
        return 4 * self.unit + (self.partials.unit if self.partials != self.accumulate else 0.0)

    @cached_property
    def lost_weight(self) -> float:
        """Loss of a weight below its format's normal range. An exp may flush to 0 whatever lies below the
        accumulator's, and one that builds 2^n as 2 * 2^(n - 1) what lies below twice that.
        """
        below_cast = self.probabilities.smallest_subnormal / 2 if self.probabilities_cast else 0.0
        return 2 * self.accumulate.smallest_normal + below_cast

    @cached_property
    def lost_partial(self) -> float:
        """Loss of the output of a part below its format's normal range: half a subnormal, as shares add up to 1."""
        return self.partials.smallest_subnormal / 2 if self.partials else 0.0

    @cached_property
    def lost_query(self) -> float:
        """Loss of a number of q that the scale was folded into, below its format's normal range."""
        return self.query.smallest_subnormal / 2 if self.query else 0.0

    @cached_property
    def flushed(self) -> float:
        """Loss of a number of q or k that a product of the first sum takes for 0."""
        return self.accumulate.smallest_normal if self.flushing else 0.0

    @cached_property
    def lost_term(self) -> float:
        """Loss of a product of the second sum by underflow, as the sum that it goes into may."""
        return 3 * self.accumulate.smallest_normal if self.flushing else 2 * self.accumulate.smallest_subnormal
