"""The eager implementation: the flowchart step by step, one sequence at a time, written to be read.

Every step works on fresh contiguous tensors in the accumulation dtype. So the bits of a sequence's output depend
neither on its neighbours nor on the strides or the alignment of the inputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# For `full_precision`, by device type: how many forwards are inside of it, and what the process had asked for before.
_SWITCH = Lock()
_INSIDE: Counter[str] = Counter()
_REQUESTED: dict[str, str] = {}


def accumulation_dtype(*dtypes: torch.dtype) -> torch.dtype:
    """Return float64 if any of the dtypes is float64, else float32."""
    return torch.float64 if torch.float64 in dtypes else torch.float32


def widen(x: Float[Tensor, "L heads D"], dtype: torch.dtype) -> Float[Tensor, "L heads D"]:
    """Return a fresh contiguous copy in the accumulation dtype."""
    return x.to(dtype, copy=True, memory_format=torch.contiguous_format)


def attention_scores(q: Float[Tensor, "H Lq D"], k: Float[Tensor, "H Lk D"], scale: float) -> Float[Tensor, "H Lq Lk"]:
    """Return ``S = (q k^T) * scale``, with the scale as a Python float."""
    return torch.bmm(q, k.transpose(1, 2)) * scale


def attention_weights(
    scores: Float[Tensor, "H Lq Lk"], hidden: Bool[Tensor, "Lq Lk"] | None = None
) -> Float[Tensor, "H Lq Lk"]:
    """Return the softmax over the visible keys; hidden keys get exactly 0, also in a row that sees no key."""
    if hidden is None:
        return scores.softmax(dim=-1)
    return scores.masked_fill(hidden, -torch.inf).softmax(dim=-1).masked_fill(hidden, 0.0)


def weighted_values(
    weights: Float[Tensor, "H Lq Lk"], v: Float[Tensor, "H Lk D"], hidden: Bool[Tensor, "Lq Lk"] | None = None
) -> Float[Tensor, "H Lq D"]:
    """Return ``P v``, in which a hidden NaN or Inf has no part and a visible one always has.

    A plain product would fail twice: 0 * NaN is NaN, so that hidden values leak, and the weight of a visible Inf may
    have vanished. So the product runs over the finite values. A query sees a prefix of the keys, so the other values
    that it sees are in their running extremes: 0, Inf, -Inf, or NaN for a NaN and for two infinities of unequal sign.
    """
    finite = v - v == 0
    nonfinite = v.masked_fill(finite, 0.0)
    extremes = nonfinite.cummax(dim=1).values + nonfinite.cummin(dim=1).values
    after_each = torch.nn.functional.pad(extremes, (0, 0, 1, 0))
    seen = after_each[:, -1:] if hidden is None else after_each[:, hidden.logical_not().sum(dim=-1)]
    return torch.bmm(weights, v.masked_fill(~finite, 0.0)) + seen


def visible_positions(
    block_table: Int[Tensor, "M"], context_len: int, block_size: int, num_blocks: int
) -> tuple[Int[Tensor, "L"], Int[Tensor, "L"]]:
    """Return block and offset of every position below ``context_len`` that lies in the cache, in order.

    Position ``t`` is looked up in column ``t // S`` whatever happens to the others, so a bad block does not shift the
    positions behind it. Entries beyond ``ceil(context_len / S)`` are never read.
    """
    readable = max(0, min(context_len, len(block_table) * block_size))
    positions = torch.arange(readable, device=block_table.device)
    blocks = block_table[positions // block_size]
    in_cache = (blocks >= 0) & (blocks < num_blocks)
    return blocks[in_cache], (positions % block_size)[in_cache]


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute float32 products in float32 for a ``with`` block: no autocast, TF32 or bf16, whatever the process has
    set.

    The switch belongs to the process: the first forward to enter turns it, the last to leave puts it back.
    """
    with _SWITCH:
        if not _INSIDE[device_type]:
            _REQUESTED[device_type] = _swap_matmul_precision(device_type, "ieee")
        _INSIDE[device_type] += 1
    try:
        with no_autocast(device_type):
            yield
    finally:
        with _SWITCH:
            _INSIDE[device_type] -= 1
            if not _INSIDE[device_type]:
                _swap_matmul_precision(device_type, _REQUESTED[device_type])


def no_autocast(device_type: str) -> AbstractContextManager[None]:
    """Return a context manager that turns autocast off if the process has it on."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _swap_matmul_precision(device_type: str, precision: str) -> str:
    """Set how float32 products are computed, and return how they were computed before.

    torch 2.9 has a switch for each kind of device, and refuses to read the older, common switch where the newer ones
    are in use.
    """
    matmul: Any = (
        torch.backends.cuda.matmul if device_type == "cuda" else getattr(torch.backends.mkldnn, "matmul", None)
    )
    if hasattr(matmul, "fp32_precision"):
        before: str = matmul.fp32_precision
        if before != precision:
            matmul.fp32_precision = precision
        return before
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if precision == "ieee" else precision)
    return before
