"""A dense function's own call, judged by itself, since the paging around it is not its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import MethodType
from typing import Any

import numpy as np

from verification.adapter import DenseAdapter
from verification.backends.dense import DenseBackend
from verification.backends.observe import to_numpy
from verification.backends.protocol import Backend
from verification.backends.snippet import Snippet
from verification.oracle.expectation import Expectation, Expected
from verification.oracle.judge import error_ratios
from verification.oracle.precision import Roundings
from verification.oracle.reference import attend
from verification.script.case import KernelCall, spell_rules
from verification.script.extract import extract_source
from verification.script.names import is_taken


def as_dense(backend: Backend) -> Backend:
    """Return the backend with its dense function, where it is an adapter of one; else the backend itself."""
    return backend.as_backend() if isinstance(backend, DenseAdapter) else backend


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


def kernel_snippet(backend: DenseBackend, calls: Sequence[KernelCall]) -> Snippet:
    """Write down ``backend.dense`` as all of these calls are made: of one object, where it is a method."""
    causal, scale = spell_rules(calls)
    if backend.plain:
        return replace(backend.plain, call=backend.plain.call.format(causal=causal, scale=scale))
    source: Callable[..., Any] = backend.dense
    owner = type(source.__self__) if isinstance(source, MethodType) else source
    found = extract_source([owner], taken=is_taken)
    name = found.names[owner.__name__]
    called, make = (name, "") if owner is source else (f"layer.{source.__name__}", f"{name}()")
    call = f"return {called}(q, k, v, causal={causal}, scale={scale})"
    return Snippet(imports=found.imports, call=call, make=make, functions=found.functions, siblings=found.siblings)
