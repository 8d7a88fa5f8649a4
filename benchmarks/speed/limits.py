"""The machine's speed at what a decode and a prefill cannot do without: moving bytes, and multiplying matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.speed.measure import time_call

GIB = 2**30
# Bytes of the copy, far beyond any cache.
COPIED = {"cuda": 2 * GIB, "cpu": GIB // 4}
# Rows of the matrices: large enough to be limited by arithmetic, small enough for a CPU to be done soon.
SIDE = {"cuda": 8192, "cpu": 1536}


@dataclass(frozen=True)
class Limits:
    """The limits of a machine, a second."""

    copy: float
    """Bytes read and written a second."""
    matmul: float
    """Floating-point operations a second."""


def measure_limits(device: str, dtype: str, min_seconds: float) -> Limits:
    """Measure a large copy and a large product of matrices."""
    a = torch.empty(COPIED[device], dtype=torch.uint8, device=device).fill_(1)
    b = torch.empty_like(a)
    copy = 2 * a.numel() / time_call(lambda: b.copy_(a), device, min_seconds)
    del a, b
    side = SIDE[device]
    x = torch.randn(2, side, side, device=device).to(getattr(torch, dtype))
    matmul = 2 * side**3 / time_call(lambda: x[0] @ x[1], device, min_seconds)
    return Limits(copy, matmul)
