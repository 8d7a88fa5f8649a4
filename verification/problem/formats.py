"""Binary floating-point formats: their limits, and their types in NumPy and torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
import torch


@dataclass(frozen=True)
class Format:
    """A binary format with subnormals."""

    name: str
    """Name of the format, as torch spells it."""
    precision: int
    """Bits of the significand, the hidden bit included."""
    min_exponent: int
    """The smallest normal number is 2 to this power."""
    max_exponent: int
    """The largest number lies between 2 to this power and twice that."""
    largest: float
    """The largest finite number. It cannot be derived: 8-bit formats spend some of their largest codes on NaN."""

    @cached_property
    def unit(self) -> float:
        """Return the unit roundoff ``u``: half the distance from 1 to the next number."""
        return 2.0**-self.precision

    @cached_property
    def smallest_normal(self) -> float:
        return 2.0**self.min_exponent

    @cached_property
    def smallest_subnormal(self) -> float:
        return 2.0 ** (self.min_exponent - self.precision + 1)

    @cached_property
    def overflow(self) -> float:
        """Return the smallest number that rounds to infinity: half a unit above the largest number.

        For float64 it is infinity itself, since no Python float is that large.
        """
        return float("inf") if self.precision == 53 else (2.0 - self.unit) * 2.0**self.max_exponent

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(ml_dtypes.bfloat16 if self.name == "bfloat16" else self.name)

    @cached_property
    def torch(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.name)
        return dtype


#: Formats in which numbers may be stored, by name.
FORMATS = {
    "float16": Format("float16", 11, -14, 15, 65504.0),
    "bfloat16": Format("bfloat16", 8, -126, 127, float.fromhex("0x1.fep+127")),
    "float32": Format("float32", 24, -126, 127, float.fromhex("0x1.fffffep+127")),
    "float64": Format("float64", 53, -1022, 1023, float.fromhex("0x1.fffffffffffffp+1023")),
}
#: Names of the formats in which a problem may be computed: the dtypes of q, k and v.
DTYPES = ("float16", "bfloat16", "float32", "float64")
