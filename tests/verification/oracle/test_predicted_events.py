"""Which warnings are owed, allowed and forbidden around the limit."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import pytest

from verification.oracle.predicted_events import LIMIT, Prediction, predict_dropped, predict_range
from verification.problem.formats import FORMATS
from verification.tensors.observation import Event


def one(x: Any, bound: Any = None, dtype: str | None = None) -> Prediction:
    """The prediction for a small tensor."""
    bounds = None if bound is None else np.broadcast_to(np.array(bound, float), np.shape(x))
    [prediction] = predict_range("x", np.array(x, float), bounds, FORMATS[dtype] if dtype else None)
    return prediction


@pytest.mark.parametrize(
    ("x", "owed"),
    [
        ([0.0], False),
        ([LIMIT], False),
        ([-LIMIT], False),
        ([np.nextafter(LIMIT, inf)], True),
        ([-np.nextafter(LIMIT, inf)], True),
        ([0.0, nan], True),
        ([0.0, inf], True),
        ([-inf, 1.0], True),
    ],
)
def test_the_limit_is_strict_on_both_sides(x: list[float], owed: bool) -> None:
    """And NaN and Inf count. A tensor that is known exactly leaves nothing open."""
    assert one(x).owed == one(x).allowed == owed


def test_an_empty_tensor_owes_nothing() -> None:
    """And predicts nothing."""
    assert predict_range("x", np.empty((0, 3))) == []


@pytest.mark.parametrize(
    ("x", "bound", "owed", "allowed"),
    [
        (9990.0, 5.0, False, False),
        (9999.0, 5.0, False, True),
        (10001.0, 5.0, False, True),
        (10010.0, 5.0, True, True),
        (-9990.0, 5.0, False, False),
        (-9999.0, 5.0, False, True),
        (-10001.0, 5.0, False, True),
        (-10010.0, 5.0, True, True),
        (1.0, inf, False, True),
    ],
)
def test_within_rounding_of_the_limit_an_event_is_optional(x: float, bound: float, owed: bool, allowed: bool) -> None:
    """And only there."""
    prediction = one([0.0, x], bound)
    assert (prediction.owed, prediction.allowed) == (owed, allowed)


def event(high: float, low: float, nonfinite: bool = False) -> Event:
    """As a backend would log it."""
    return Event("x", max=high, min=low, nonfinite=nonfinite)


def test_extremes_must_be_right() -> None:
    """To the bit where the tensor is known, and within the bound elsewhere."""
    exact = one([2e4, 5.0])
    assert exact.agrees(event(2e4, 5.0))
    assert not exact.agrees(event(2e4, 4.0))
    assert not exact.agrees(event(2.1e4, 5.0))
    assert not exact.agrees(event(2e4, 5.0, nonfinite=True))
    assert not exact.agrees(Event("x"))
    near = one([2e4, 5.0], 1.0)
    assert near.agrees(event(20001.0, 4.0))
    assert not near.agrees(event(20001.5, 5.0))


def test_nan_extremes_are_nan() -> None:
    """torch.aminmax gives NaN for both where one is there."""
    assert one([nan, 1.0]).agrees(event(nan, nan, nonfinite=True))
    assert not one([nan, 1.0]).agrees(event(1.0, 1.0, nonfinite=True))
    assert not one([nan, 1.0]).agrees(event(nan, nan))


def test_infinite_extremes_are_infinite() -> None:
    """The finite one is still known."""
    assert one([inf, 1.0]).agrees(event(inf, 1.0, nonfinite=True))
    assert not one([inf, 1.0]).agrees(event(-inf, 1.0, nonfinite=True))


def test_an_output_near_overflow_may_be_infinite() -> None:
    """float16 rounds 65519 up to 65504 and 65520 to Inf."""
    assert not one([65000.0], 10.0, "float16").uncertain
    assert one([65515.0], 10.0, "float16").uncertain
    assert one([-65515.0], 10.0, "float16").agrees(event(0.0, -inf, nonfinite=True))
    assert not one([65515.0], 10.0, "float32").uncertain


def test_a_nonfinite_event_is_owed_even_beside_what_is_open() -> None:
    """A demanded NaN, and an element that may be anything."""
    [prediction] = predict_range("x", np.array([nan, 1.0]), np.array([0.0, inf]))
    assert prediction.owed
    assert not prediction.agrees(event(5.0, 1.0))


def test_dropped_counts() -> None:
    """None dropped owes nothing; else the count must be right."""
    assert predict_dropped("slot_mapping", 0) == []
    [prediction] = predict_dropped("slot_mapping", 3)
    assert prediction.owed
    assert prediction.agrees(Event("slot_mapping", dropped=3))
    assert not prediction.agrees(Event("slot_mapping", dropped=2))
    assert not prediction.agrees(event(2e4, 0.0))
    assert not one([2e4]).agrees(Event("x", dropped=1))
