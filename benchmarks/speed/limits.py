"""How fast the machine is at what a decode and a prefill cannot do without: moving bytes, and multiplying matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.speed.measure import time_call

GIB = 2**30
COPIED = {"cuda": 2 * GIB, "cpu": GIB // 4}  # bytes, far beyond any cache
SIDE = {"cuda": 8192, "cpu": 1536}


@dataclass(frozen=True)
class Limits:
    """Bytes read and written, and floating-point operations, a second."""

    copy: float
    matmul: float


def measure_limits(device: str, dtype: str, min_seconds: float) -> Limits:
    a = torch.empty(COPIED[device], dtype=torch.uint8, device=device).fill_(1)
    b = torch.empty_like(a)
    copy = 2 * a.numel() / time_call(lambda: b.copy_(a), device, min_seconds)
    del a, b
    side = SIDE[device]
    x = torch.randn(2, side, side, device=device).to(getattr(torch, dtype))
    matmul = 2 * side**3 / time_call(lambda: x[0] @ x[1], device, min_seconds)
    return Limits(copy, matmul)
