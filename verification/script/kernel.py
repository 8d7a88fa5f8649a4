"""A dense function's own call, judged by itself: what its paging does is another's."""

from __future__ import annotations

import numpy as np

from verification.backends.observe import to_numpy
from verification.oracle.expectation import Expectation
from verification.oracle.judge import scores
from verification.oracle.precision import Roundings
from verification.oracle.reference import attend
from verification.script.case import KernelCall


def expected(call: KernelCall, roundings: Roundings) -> Expectation:
    """Exact output and bound, ``[H, Lq, D]``."""
    q, k, v = (to_numpy(x).astype(np.float64) for x in (call.q, call.k, call.v))
    counts = np.arange(1, q.shape[1] + 1) if call.causal else np.full(q.shape[1], k.shape[1])
    with np.errstate(all="ignore"):
        attended = attend(np, q, k, v, counts, call.scale, roundings)
    return Expectation(attended.out, attended.bound, (), (), roundings)


def worst(call: KernelCall, expectation: Expectation) -> str:
    """The worst element in the kernel's own axes; empty where it raised."""
    if call.output is None:
        return ""
    score = scores(call.output, expectation)
    at = np.unravel_index(int(score.argmax()), score.shape)
    got, exact, bound = (float(x[at]) for x in (call.output, expectation.exact, expectation.bound))
    where = "head {}, query {}, dim {}".format(*at)
    return (
        f"{int((score > 1).sum())} of {score.size} elements out of bound, err/bound up to {score.max():.3g}\n"
        f"  {where}: got {got!r}, exact {exact!r}, allowed error {bound:.3g}"
    )
