"""Other people's rules for "close enough", for comparison. Nothing in the harness judges by them.

Each rule returns True if it accepts an output ``[T, H, D]``. The rules are given the benefit of the doubt where they
have no opinion: elements whose exact value is NaN or Inf are left out, even if a number came where NaN was owed, and so
are elements that the bound leaves open. Every rule sees an output that is not finite where the exact one is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verification.backends.observe import to_numpy
from verification.oracle.expectation import Expectation
from verification.oracle.judge import error_ratios
from verification.problem import Problem
from verification.problem.formats import FORMATS

Array = NDArray[Any]
Rule = Callable[[Array, Expectation, Problem], bool]


def within_bound(output: Array, expectation: Expectation, problem: Problem) -> bool:  # noqa: ARG001
    """Return True if every element is within its own bound: our rule."""
    return bool((error_ratios(output, expectation) <= 1.0).all())


def twice_low_precision(output: Array, expectation: Expectation, problem: Problem) -> bool:
    """Return True if ``max|out - ref| <= 2 max|lowprec - ref| + 1e-5``.

    This is the rule of FlashAttention's tests, tests/test_flash_attn.py.
    """
    reference, low, known = _align(attend_in_low_precision(expectation, problem), expectation)
    allowed = 2 * float(np.abs(low[known] - reference[known]).max(initial=0.0)) + 1e-5
    return _is_within(output, expectation, allowed if np.isfinite(allowed) else np.inf, 0.0)


def one_percent(output: Array, expectation: Expectation, problem: Problem) -> bool:  # noqa: ARG001
    """Return True if the output is within ``atol=1.5e-2, rtol=1e-2``.

    This is the rule of vLLM's tests, tests/kernels/attention/test_flash_attn.py.
    """
    return _is_within(output, expectation, 1.5e-2, 1e-2)


def assert_close(output: Array, expectation: Expectation, problem: Problem) -> bool:
    """Return True if the output is within the defaults of ``torch.testing.assert_close`` for its dtype."""
    rtol, atol = _ASSERT_CLOSE[problem.dtype]
    return _is_within(output, expectation, atol, rtol)


RULES: dict[str, Rule] = {
    "derived bound": within_bound,
    "2x low precision": twice_low_precision,
    "atol 1.5e-2, rtol 1e-2": one_percent,
    "assert_close": assert_close,
}
# rtol and atol, from the table in the documentation of torch.testing.assert_close.
_ASSERT_CLOSE = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}


def attend_in_low_precision(expectation: Expectation, problem: Problem) -> Array:
    """Return attention as torch computes it in the problem's own dtype: every intermediate is rounded to it."""
    output = torch.zeros(expectation.exact.shape, dtype=FORMATS[problem.dtype].torch)
    repeats = problem.num_heads // problem.num_kv_heads
    for sequence, _ in expectation.sequences:
        if not (len(sequence.q) and len(sequence.keys)):
            continue
        q, k, v = (
            torch.from_numpy(x.astype(np.float64)).to(output.dtype).transpose(0, 1)
            for x in (sequence.q, sequence.keys, sequence.values)
        )
        k, v = (x.repeat_interleave(repeats, dim=0) for x in (k, v))
        hidden = torch.arange(k.shape[1]) >= torch.from_numpy(sequence.counts)[:, None]
        weights = ((q @ k.mT) * problem.scale).masked_fill(hidden, -torch.inf).softmax(dim=-1)
        output[sequence.rows] = (weights.masked_fill(hidden, 0.0) @ v).transpose(0, 1)
    return to_numpy(output)


def _align(output: Array, expectation: Expectation) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the reference and the output, both in float64, and where they are compared.

    The reference is rounded to the output's format.
    """
    with np.errstate(over="ignore"):
        reference = expectation.exact.astype(expectation.roundings.output.numpy).astype(np.float64)
    return reference, output.astype(np.float64), np.isfinite(reference) & (expectation.bound != np.inf)


def _is_within(output: Array, expectation: Expectation, atol: float, rtol: float) -> bool:
    """Return True if every compared element is within ``atol + rtol * |reference|``."""
    reference, got, known = _align(output, expectation)
    got, reference = got[known], reference[known]
    return bool((np.abs(got - reference) <= atol + rtol * np.abs(reference)).all())
