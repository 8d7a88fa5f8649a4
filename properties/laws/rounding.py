"""Law of rounding: errors that are small, and all to one side, are within any tolerance."""

from __future__ import annotations

from dataclasses import replace
from math import log, sqrt

import numpy as np

from properties.laws.law import Need, OutsideLaw, law
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.oracle.difference import difference
from verification.oracle.expectation import Expectation
from verification.oracle.judge import Verdict, Violation, successful_output
from verification.problem import Problem
from verification.tensors.inputs import Array, make_inputs

# Of a mean of N independent roundings, each within half a unit, Hoeffding's inequality says how likely it is to be
# beyond t: 2 exp(-2 N t^2). Once in 10^12 problems is never.
_NEVER = log(2e12) / 2
# Elements of which all that precedes the last rounding is at most so many units off.
_NEARLY_EXACT = 0.1


def _rounds_finely(backend: Backend, dtype: str) -> bool:
    """Return whether elements can be so exact before the last rounding. Before it each may be off by the unit of the
    accumulator and by that of the probabilities, relative; a unit in the last place is at most 2^(1 - precision).
    """
    roundings = backend.precision.resolve(dtype)
    unit = max(roundings.total_unit, roundings.probabilities_cast)
    return unit * 2.0 ** (roundings.output.precision - 1) < _NEARLY_EXACT


FINE_SUMS = Need("sums and probabilities much finer than the output (precision)", _rounds_finely)


@law(plain=True, needs=(FINE_SUMS,))
def rounds_to_either_side(backend: Backend, problem: Problem) -> Verdict:
    """|mean s (out - exact) / ulp(exact)| <= t for s = 1 and s = sign(exact). Truncation has a mean of 1/2; t is the
    mean of the bound before the last rounding, and what chance allows to that one.
    """
    inputs = make_inputs(replace(problem, score_fill="normal", value_fill="normal", numbers=()))
    output, expectation = successful_output(observe(backend, inputs)), expected_from(backend, inputs)
    ulp = _ulp(expectation)
    before = expectation.before_rounding / ulp
    counted = _several_seen(expectation)[..., None] & np.isfinite(expectation.exact) & (before < _NEARLY_EXACT)
    number = int(counted.sum())
    room = float(before[counted].mean()) + sqrt(_NEVER / number) if number else 1.0
    if room >= 0.5:  # where truncation would go through nothing is said
        raise OutsideLaw("too few elements are known well enough before their last rounding")
    off = (output.astype(np.float64) - expectation.exact) / ulp
    signed = {"up": off, "away from 0": np.sign(expectation.exact) * off}
    means = {side: float(x[counted].mean()) for side, x in signed.items()}
    for side, mean in means.items():
        if not abs(mean) <= room:
            worst = int(np.where(counted, np.abs(off), -1.0).argmax())
            found = difference(counted, output, expectation.exact, room * ulp, worst, expectation.query_lens)
            raise Violation(f"{number} errors are {mean:+.3f} ulp {side} on average; chance allows {room:.3f}", found)
    return Verdict(max(map(abs, means.values())) / room)


def _ulp(expectation: Expectation) -> Array:
    """Return a unit in the last place of the output's format, where the exact result lies."""
    output = expectation.roundings.output
    _, exponent = np.frexp(expectation.exact)
    ulp: Array = np.maximum(np.ldexp(1.0, exponent - output.precision), output.smallest_subnormal)
    return ulp


def _several_seen(expectation: Expectation) -> Array:
    """Return ``[T, H]``: where several keys are seen. A row that sees one is its value, which nobody rounds."""
    several = np.zeros(expectation.exact.shape[:2], np.bool_)
    for sequence, _ in expectation.sequences:
        several[sequence.rows] = (sequence.counts > 1)[:, None]
    return several
