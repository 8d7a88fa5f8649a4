"""The contenders of a race, and their calls made ready."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import nan

from torch import Tensor

from benchmarks.speed.cases import PHASES, Case, Phase, Size

# Formats of 16 bits, which most kernels are made for.
HALVES = ("float16", "bfloat16")


def _no_objection(size: Size) -> str:  # noqa: ARG001
    """Return no reason: the contender takes every size."""
    return ""


def _no_bytes(size: Size) -> int:  # noqa: ARG001
    """Return 0: the contender takes no memory beside the case's."""
    return 0


@dataclass(frozen=True)
class Prepared:
    """A call that is ready to be timed."""

    call: Callable[[], Tensor]
    """Call that is timed."""
    note: str = ""
    """Remark for the row."""
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    """Context manager that the call is made in, which is not timed."""


@dataclass(frozen=True)
class Contender:
    """An implementation that is timed."""

    name: str
    """Name of the row."""
    prepare: Callable[[Case], Prepared]
    """Function that makes a call ready."""
    phases: tuple[Phase, ...] = PHASES
    """Phases that the contender can do."""
    cannot: Callable[[Size], str] = _no_objection
    """Function that returns why the contender does not take a size, or an empty text if it does."""
    needs: Callable[[Size], int] = _no_bytes
    """Function that returns the bytes that the contender takes beside the case's own tensors."""
    ours: bool = False
    """True for `attn_core`'s layer."""
    hidden: float = nan
    """Number that hidden places of the cache hold while it runs: 0 if it multiplies them by 0, else NaN."""


def explain_unless_cuda_halves(size: Size) -> str:
    """Return why a kernel for 16 bits on CUDA does not take a size, or an empty text if it does."""
    if size.device != "cuda":
        return "no kernel for CPU"
    return "" if size.dtype in HALVES else f"no kernel for {size.dtype}"


def count_padded_numbers(size: Size) -> int:
    """Return how many numbers the keys, or the values, of a batch are if every sequence is as long as the longest."""
    return size.batch * max(size.lengths) * size.num_kv_heads * size.head_dim
