"""What a profile means for an input format."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest
import torch

from tests.verification.misspelt import Case, cases_of, check_refusal, check_table
from verification.oracle.precision import INPUT, Precision
from verification.problem.formats import FORMATS

FLASH = Precision(probabilities=INPUT)
FORMAT: list[Case] = [
    (
        "f32",
        ValueError,
        "'f32' (must be one of 'input', 'float16', 'bfloat16', 'float32', 'float64'; the nearest is 'flo",
    ),
    ("", ValueError, "'' (must be one of 'input'"),
    (torch.float32, TypeError, "torch.float32 (must be one of 'input'"),
    (None, TypeError, "None (must be one of 'input'"),
]
FLAG: list[Case] = [
    (1, TypeError, "1 (must be True or False)"),
    ("float16", TypeError, "'float16' (must be True or False)"),
]
AMOUNT: list[Case] = [
    (-(2.0**-13), ValueError, "-0.0001220703125 (must be a finite number, 0 or more)"),
    (nan, ValueError, "nan (must be a finite number, 0 or more)"),
    (inf, ValueError, "inf (must be a finite number, 0 or more)"),
    ("2e-4", TypeError, "'2e-4' (must be a number, 0 or more)"),
    (True, TypeError, "True (must be a number, 0 or more)"),
]
MISSPELT = {
    **dict.fromkeys(("accumulate", "scores", "probabilities", "output"), FORMAT),
    **dict.fromkeys(("scaled_query", "rounded_scale", "truncating", "unscaled_scores", "flushing"), FLAG),
    **dict.fromkeys(("exp_error", "probabilistic"), AMOUNT),
    "partials": [
        ("accumulator", ValueError, "'accumulator' (must be one of '', 'input', 'float16'"),
        (None, TypeError, "None (must be one of '', 'input', 'float16'"),
    ],
    "merge": [
        ("lse", ValueError, "'lse' (must be 'quotient' where nothing is split: partials is '')"),
        ("LSE", ValueError, "'LSE' (must be one of 'quotient', 'lse'"),
        (None, TypeError, "None (must be one of 'quotient', 'lse'"),
    ],
    "weights_summed": [
        ("afterwards", ValueError, "'afterwards' (must be one of 'before', 'after'; the nearest is 'after')"),
        (True, TypeError, "True (must be one of 'before', 'after'"),
    ],
}


@pytest.mark.parametrize(("field", "value", "error", "part"), cases_of(MISSPELT))
def test_a_misspelt_field_is_one_line(field: str, value: object, error: type[Exception], part: str) -> None:
    """Where the profile is made, and not at the first problem."""
    check_refusal(Precision(), field, value, error, part)


def test_every_field_is_checked() -> None:
    """None can be added without."""
    check_table(Precision, MISSPELT)


def test_numbers_are_kept_as_floats() -> None:
    """So that equal profiles are equal, and print alike."""
    assert repr(Precision(exp_error=0, probabilistic=3)) == repr(Precision(probabilistic=3.0))  # type: ignore[arg-type]


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


def test_a_cast_is_in_one_sum_or_in_both() -> None:
    """And costs nothing in either where the weights are kept in the accumulator's format."""
    after = replace(FLASH, weights_summed="after")
    casts = [(r.cast_of_both_sums, r.cast_of_values_sum) for r in (FLASH.resolve("float16"), after.resolve("float16"))]
    assert casts == [(0.0, 2.0**-11), (2.0**-11, 0.0)]
    assert after.resolve("float32").cast_of_both_sums == 0


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
