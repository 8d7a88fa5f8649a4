"""The implementations that nothing may be said against."""

from __future__ import annotations

from verification.backend import Backend
from verification.backends.attn_core import AttnCore
from verification.backends.kernels import cpu_kernels, cuda_kernels
from verification.faults import HONEST_SPLIT_DECODE


def every() -> list[Backend]:
    """On every device."""
    return [AttnCore(), *cpu_kernels(), AttnCore("cuda"), *cuda_kernels()]


def on_cpu() -> dict[str, Backend]:
    """By name, with the split decode that some faults are planted in."""
    return {backend.name: backend for backend in (AttnCore(), HONEST_SPLIT_DECODE, *cpu_kernels())}
