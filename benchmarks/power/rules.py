"""Other people's rules for "close enough", for comparison. Nothing in the harness judges by them.

Each says whether it accepts an output ``[T, H, D]``. They are given the benefit of the doubt where they have no
opinion: elements whose exact value is NaN or Inf are left out, a number where NaN was owed included, and so is what
the bound calls open. An output that is not finite where the exact one is, they see.
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
    """Ours: every element within its own bound."""
    return bool((error_ratios(output, expectation) <= 1.0).all())


def twice_low_precision(output: Array, expectation: Expectation, problem: Problem) -> bool:
    """``max|out - ref| <= 2 max|lowprec - ref| + 1e-5``: FlashAttention's tests, tests/test_flash_attn.py."""
    reference, low, known = _align(attend_in_low_precision(expectation, problem), expectation)
    allowed = 2 * float(np.abs(low[known] - reference[known]).max(initial=0.0)) + 1e-5
    return _is_within(output, expectation, allowed if np.isfinite(allowed) else np.inf, 0.0)


def one_percent(output: Array, expectation: Expectation, problem: Problem) -> bool:  # noqa: ARG001
    """``atol=1.5e-2, rtol=1e-2``: as in vLLM's tests, tests/kernels/attention/test_flash_attn.py."""
    return _is_within(output, expectation, 1.5e-2, 1e-2)


def assert_close(output: Array, expectation: Expectation, problem: Problem) -> bool:
    """The defaults of ``torch.testing.assert_close`` for the output's dtype."""
    rtol, atol = _ASSERT_CLOSE[problem.dtype]
    return _is_within(output, expectation, atol, rtol)


RULES: dict[str, Rule] = {
    "derived bound": within_bound,
    "2x low precision": twice_low_precision,
    "atol 1.5e-2, rtol 1e-2": one_percent,
    "assert_close": assert_close,
}
# rtol, atol: the table in the documentation of torch.testing.assert_close.
_ASSERT_CLOSE = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}


def attend_in_low_precision(expectation: Expectation, problem: Problem) -> Array:
    """Attention written down in torch in the problem's own dtype: every intermediate is rounded to it."""
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
    """Reference as it is in the output's format, output, and where they are compared, all in float64."""
    with np.errstate(over="ignore"):
        reference = expectation.exact.astype(expectation.roundings.output.numpy).astype(np.float64)
    return reference, output.astype(np.float64), np.isfinite(reference) & (expectation.bound != np.inf)


def _is_within(output: Array, expectation: Expectation, atol: float, rtol: float) -> bool:
    reference, got, known = _align(output, expectation)
    got, reference = got[known], reference[known]
    return bool((np.abs(got - reference) <= atol + rtol * np.abs(reference)).all())
