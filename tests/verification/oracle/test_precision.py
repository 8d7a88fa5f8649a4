"""What a profile means for an input format."""

from __future__ import annotations

import pytest

from verification.oracle.precision import INPUT, Precision
from verification.problem.formats import FORMATS

FLASH = Precision(probabilities=INPUT)


def test_input_stands_for_the_problems_format() -> None:
    """Wherever it is named."""
    roundings = Precision(scores=INPUT, probabilities=INPUT).resolve("bfloat16")
    assert roundings.scores == roundings.probabilities == roundings.output == FORMATS["bfloat16"]
    assert roundings.accumulate == FORMATS["float32"]


@pytest.mark.parametrize("precision", [Precision(), FLASH, Precision(scores="float16", truncating=True)])
def test_float64_is_float64_throughout(precision: Precision) -> None:
    """Nothing rounds it to less."""
    roundings = precision.resolve("float64")
    formats = {roundings.accumulate, roundings.scores, roundings.probabilities, roundings.output}
    assert formats == {FORMATS["float64"]}
    assert roundings.scores_cast == roundings.probabilities_cast == 0


def test_truncating_doubles_the_unit() -> None:
    """Of the accumulator alone."""
    nearest, truncating = Precision().resolve("float16"), Precision(truncating=True).resolve("float16")
    assert truncating.unit == 2 * nearest.unit == 2.0**-23
    assert truncating.output.unit == nearest.output.unit


def test_a_scaled_query_is_rounded_to_the_inputs_format() -> None:
    """And to none where the scale stays apart."""
    assert Precision(scaled_query=True).resolve("float16").query == FORMATS["float16"]
    assert Precision().resolve("float16").query is None
    assert Precision(rounded_scale=True).resolve("float16").scale_cast == 2.0**-11


def test_casts_cost_nothing_in_the_accumulators_format() -> None:
    """Keeping float32 scores in float32 is no cast."""
    assert FLASH.resolve("float32").probabilities_cast == 0
    assert FLASH.resolve("float16").probabilities_cast == 2.0**-11
    assert Precision(scores="bfloat16").resolve("float32").scores_cast == 2.0**-8


def test_weights_below_the_normal_range_may_be_lost() -> None:
    """Half a subnormal of the weights' format, on top of what an exp may flush in the accumulator's."""
    assert Precision().resolve("float16").lost_weight == 2.0**-125
    assert FLASH.resolve("float16").lost_weight == 2.0**-125 + 2.0**-25


def test_flushing_loses_products_below_the_normal_range() -> None:
    """What goes in, the product, and the sum; else half a subnormal for each product and each sum, and room."""
    assert Precision(flushing=True).resolve("bfloat16").lost_term == 3 * 2.0**-126
    assert Precision().resolve("bfloat16").lost_term == 2 * 2.0**-149


@pytest.mark.parametrize(
    ("dtype", "error"), [("float16", 2.0**-13), ("bfloat16", 2.0**-13), ("float32", 0.0), ("float64", 0.0)]
)
def test_a_short_exp_serves_the_narrow_formats(dtype: str, error: float) -> None:
    """It would not be good enough for the others."""
    assert Precision(exp_error=2.0**-13).resolve(dtype).exp_error == error


def test_the_reference_is_no_better_than_float64() -> None:
    """Its own roundoff is part of what may differ."""
    assert Precision().resolve("float64").total_unit == 2 * FORMATS["float64"].unit
    assert Precision().resolve("float32").total_unit == 2.0**-24 + 2.0**-53
