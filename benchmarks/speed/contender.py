"""What it takes to be timed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import nan

from torch import Tensor

from benchmarks.speed.cases import PHASES, Case, Phase, Size

HALVES = ("float16", "bfloat16")


def _no_objection(size: Size) -> str:  # noqa: ARG001
    return ""


def _no_bytes(size: Size) -> int:  # noqa: ARG001
    return 0


@dataclass(frozen=True)
class Prepared:
    """``call`` is what is timed, inside of ``around``, which is not."""

    call: Callable[[], Tensor]
    note: str = ""
    around: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True)
class Contender:
    """``cannot`` says why it is not for a size, ``needs`` how many bytes it takes beside the case's own tensors.

    ``hidden`` is what hidden places of the cache hold while it runs: zeros, where it multiplies them by 0.
    """

    name: str
    prepare: Callable[[Case], Prepared]
    phases: tuple[Phase, ...] = PHASES
    cannot: Callable[[Size], str] = _no_objection
    needs: Callable[[Size], int] = _no_bytes
    ours: bool = False
    hidden: float = nan


def explain_unless_cuda_halves(size: Size) -> str:
    if size.device != "cuda":
        return "no kernel for CPU"
    return "" if size.dtype in HALVES else f"no kernel for {size.dtype}"


def count_padded_numbers(size: Size) -> int:
    """In the keys, or the values, of a batch of which every sequence is as long as the longest."""
    return size.batch * max(size.lengths) * size.num_kv_heads * size.head_dim
