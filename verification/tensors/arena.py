"""One buffer for all tensors of a call, with poison between them, so that one compare finds every stray write.

Each tensor starts at a multiple of 256 bytes, and at least 256 bytes before and after it belong to no tensor. Runs that
are compared bit for bit thus have equal alignment, and a kernel that reads past an end reads poison.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verification.problem.formats import FORMATS

# Bytes: CUDA aligns what it allocates to at least as many, so that kernels meet the alignment that they are used to.
_ALIGNMENT = 256
_TORCH_DTYPES = {fmt.numpy: fmt.torch for fmt in FORMATS.values()} | {
    np.dtype(np.int32): torch.int32,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.bool_): torch.bool,
}
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Span:
    """The place of a tensor in an arena."""

    offset: int
    """Bytes from the start of the arena to the first element."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """For each axis, bytes from an element to the next."""
    dtype: np.dtype[Any]

    @cached_property
    def size(self) -> int:
        """Return the number of bytes from the first element to the end of the last."""
        if 0 in self.shape:
            return 0
        return sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) + self.dtype.itemsize

    def on_host(self, memory: Bytes) -> NDArray[Any]:
        """Return this tensor as a view of the arena's bytes."""
        if not self.size:  # NumPy refuses strides that would leave the buffer, though no element does
            return np.empty(self.shape, self.dtype)
        return np.ndarray(self.shape, self.dtype, memory, self.offset, self.strides)

    def on_device(self, memory: torch.Tensor) -> torch.Tensor:
        """Return this tensor as a view of the arena, a uint8 tensor on any device."""
        if not self.size:  # its offset may lie behind the arena's end
            return memory[:0].view(_TORCH_DTYPES[self.dtype]).view(self.shape)
        flat = memory[self.offset : self.offset + self.size].view(_TORCH_DTYPES[self.dtype])
        return flat.as_strided(self.shape, [stride // self.dtype.itemsize for stride in self.strides])


class ArenaPlan:
    """The plan of an arena, in which each tensor lies behind the one before."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self._reserved: list[tuple[int, int]] = []
        self._end = 0

    def reserve(self, shape: tuple[int, ...], dtype: np.dtype[Any], poison: int) -> int:
        """Return the offset of a new contiguous tensor; it and the guards around it will hold the byte ``poison``."""
        offset = -(-(self._end + _ALIGNMENT) // _ALIGNMENT) * _ALIGNMENT
        self._end = offset + prod(shape) * dtype.itemsize
        self._reserved.append((self._end + _ALIGNMENT, poison))
        return offset

    def fill(self) -> tuple[torch.Tensor, Bytes]:
        """Return the buffer on the host, all poison, as a torch tensor and as a NumPy view of it."""
        memory = allocate_aligned(self._end + _ALIGNMENT)
        view: Bytes = memory.numpy()
        start = 0
        for end, poison in self._reserved:
            view[start:end] = poison
            start = end
        return memory, view


def allocate_aligned(size: int) -> torch.Tensor:
    """Return ``size`` bytes on the host that start at a multiple of 256."""
    memory = torch.empty(size + _ALIGNMENT, dtype=torch.uint8, device="cpu")
    first = -memory.data_ptr() % _ALIGNMENT
    return memory[first : first + size]


def contiguous_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return row-major strides in bytes."""
    strides = [itemsize]
    for length in reversed(shape[1:]):
        strides.append(strides[-1] * length)
    return tuple(reversed(strides))
