"""Limits of a right answer as literals: by how much it may be off, and the warnings that it must log."""

from __future__ import annotations

from typing import Any

import numpy as np

from verification.oracle.expectation import Expectation
from verification.oracle.precision import Roundings
from verification.oracle.predicted_events import Prediction
from verification.script.literals import Literals


def write_bound(expectation: Expectation, literals: Literals) -> dict[str, Any]:
    """Return the template's values of the bound: one number where all elements have the same, else all of them."""
    bound, output = expectation.bound, expectation.roundings.output
    one = not bound.size or bool((bound == bound.flat[0]).all())
    limit = repr(float(bound.flat[0]) if bound.size else 0.0) if one else f"np.array({literals.flat(bound.tolist())})"
    reach = np.abs(expectation.exact) + bound
    overflows = bool((np.isfinite(reach) & (reach >= output.overflow)).any())
    return {
        "allowed": limit,
        "overflow": repr(output.overflow) if overflows else "",
        "roundings": _in_words(expectation.roundings),
    }


def _in_words(roundings: Roundings) -> str:
    weights = "" if roundings.probabilities == roundings.accumulate else f", weights in {roundings.probabilities.name}"
    return f"sums in {roundings.accumulate.name}{weights}, one rounding to {roundings.output.name} at the end"


def write_events(predictions: tuple[Prediction, ...]) -> dict[str, Any]:
    """Return the template's lines for the warnings that are owed, one a field, and the names of optional ones."""
    owed: list[str] = []
    for prediction in predictions:
        if prediction.owed:
            owed += [f'"{prediction.tensor}": {{', *(f"    {line}," for line in _fields(prediction)), "},"]
    return {"owed": owed, "optional": [p.tensor for p in predictions if p.allowed and not p.owed]}


def _fields(prediction: Prediction) -> list[str]:
    names = ["dropped"] if prediction.dropped else ["max", "min", "nonfinite"]
    if prediction.uncertain:  # its extremes may be anything, but it must see a NaN that is there
        names = ["nonfinite"] if prediction.nonfinite else []
    return [f'"{name}": {getattr(prediction, name)!r}' for name in names]
