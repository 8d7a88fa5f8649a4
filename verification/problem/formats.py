"""Binary floating-point formats: their limits, and the types that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import torch


@dataclass(frozen=True)
class Format:
    """``precision`` significand bits (the hidden one included) and normal exponents ``min_exponent..max_exponent``."""

    name: str
    precision: int
    min_exponent: int
    max_exponent: int

    @cached_property
    def unit(self) -> float:
        """Unit roundoff ``u``: half the distance from 1 to the next number."""
        return 2.0**-self.precision

    @cached_property
    def smallest_normal(self) -> float:
        return 2.0**self.min_exponent

    @cached_property
    def smallest_subnormal(self) -> float:
        return 2.0 ** (self.min_exponent - self.precision + 1)

    @cached_property
    def largest(self) -> float:
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0**self.max_exponent

    @cached_property
    def overflow(self) -> float:
        """What rounds to infinity: half a unit above the largest number (itself too large for a float in float64)."""
        return float("inf") if self.precision == 53 else (2.0 - self.unit) * 2.0**self.max_exponent

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(ml_dtypes.bfloat16 if self.name == "bfloat16" else self.name)

    @cached_property
    def torch(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.name)
        return dtype


FORMATS = {
    "float16": Format("float16", 11, -14, 15),
    "bfloat16": Format("bfloat16", 8, -126, 127),
    "float32": Format("float32", 24, -126, 127),
    "float64": Format("float64", 53, -1022, 1023),
}
