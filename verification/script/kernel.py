"""A dense function's own call, judged by itself, since the paging around it is not its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MethodType
from typing import Any

import numpy as np

from verification.backends.dense import DenseBackend
from verification.backends.observe import to_numpy
from verification.backends.snippet import Snippet
from verification.oracle.expectation import Expectation, Expected
from verification.oracle.judge import error_ratios
from verification.oracle.precision import Roundings
from verification.oracle.reference import attend
from verification.script.case import KernelCall
from verification.script.extract import extract_source
from verification.script.names import is_taken


def expect_kernel(call: KernelCall, roundings: Roundings) -> Expectation:
    """Return the exact output of a call and its bound, ``[H, Lq, D]``."""
    q, k, v = (to_numpy(x).astype(np.float64) for x in (call.q, call.k, call.v))
    counts = np.arange(1, q.shape[1] + 1) if call.causal else np.full(q.shape[1], k.shape[1])
    with np.errstate(all="ignore"):
        attended = attend(np, q, k, v, counts, call.scale, roundings)
    return Expectation({"out": Expected(attended.out, attended.bound)}, (), (), roundings)


def describe_worst(call: KernelCall, expectation: Expectation) -> str:
    """Return a description of the worst element, in the kernel's own axes; empty where the kernel raised."""
    if call.output is None:
        return ""
    ratio = error_ratios(call.output, expectation)
    at = np.unravel_index(int(ratio.argmax()), ratio.shape)
    got, exact, bound = (float(x[at]) for x in (call.output, expectation.exact, expectation.bound))
    where = "head {}, query {}, dim {}".format(*at)
    return (
        f"{int((ratio > 1).sum())} of {ratio.size} elements out of bound, err/bound up to {ratio.max():.3g}\n"
        f"  {where}: got {got!r}, exact {exact!r}, allowed error {bound:.3g}"
    )


def kernel_snippet(backend: DenseBackend, causal: bool, scale: float) -> Snippet:
    """Write down a call of ``backend.dense`` with ``q``, ``k`` and ``v`` alone."""
    if backend.plain:
        return replace(backend.plain, call=backend.plain.call.format(causal=causal, scale=repr(scale)))
    source: Callable[..., Any] = backend.dense
    method = ""
    if isinstance(source, MethodType):
        method = f"().{source.__name__}"
        source = type(source.__self__)
    found = extract_source([source], taken=is_taken)
    call = f"return {found.names[source.__name__]}{method}(q, k, v, causal={causal}, scale={scale!r})"
    return Snippet(imports=found.imports, call=call, functions=found.functions, siblings=found.siblings)
