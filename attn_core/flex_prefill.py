"""Prefill by compiled FlexAttention: the sequences of a call as one, under a mask of intervals.

Query ``t`` of the packed tokens sees the keys from ``low[t]`` up to ``high[t]``, which is excluded. Both rise along the
tokens, so the key blocks that a block of queries reads are an interval too, and the block mask is arithmetic on the
device.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import flex_attention as flex

from attn_core import eager
from attn_core.compiling import compile_for, mark_varying, pad
from attn_core.finite import checksum
from attn_core.masks import CausalAlignment
from attn_core.metadata import HostMetadata
from attn_core.sdpa import check_ranges
from attn_core.sequences import mark_seen_keys

# Queries, and keys, of a block of the mask: FlexAttention's own choice.
BLOCK = 128
# FlexAttention would by itself take another kernel for fewer than 128 queries, and might take TF32 for float32.
_KERNEL_OPTIONS = {"FORCE_USE_FLEX_ATTENTION": True, "FLOAT32_PRECISION": "'ieee'"}


class Layer(Protocol):
    """The part of the layer that this prefill needs; `attn_core.sdpa` needs more."""

    scale: float
    causal_alignment: CausalAlignment

    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor: ...


def prefill(
    layer: Layer,
    q: Float[Tensor, "T H D"],
    k: Float[Tensor, "T_k G D"],
    v: Float[Tensor, "T_k G D"],
    host: HostMetadata,
) -> Float[Tensor, "T H D"] | None:
    """Return the output, or None if any visible number is NaN or Inf.

    One transfer tells whether there is any NaN or Inf at all, and only then a second one whether any is visible.
    """
    visible = k, v
    if not isfinite(checksum(q, *visible)):
        unseen = ~mark_seen_keys(host, layer.causal_alignment).to(k.device)[:, None, None]
        visible = k.masked_fill(unseen, 0), v.masked_fill(unseen, 0)  # hidden numbers must not decide which kernel runs
        if not isfinite(checksum(q, *visible)):
            return None
    check_ranges(layer, q, k, host)
    starts = host["cu_seqlens_q"], host["cu_seqlens_k"]
    return attend(q, *visible, *starts, layer.causal_alignment, layer.scale)


def attend(
    q: Float[Tensor, "T H D"],
    k: Float[Tensor, "T_k G D"],
    v: Float[Tensor, "T_k G D"],
    starts_q: Int[Tensor, "B+1"],
    starts_k: Int[Tensor, "B+1"],
    alignment: CausalAlignment,
    scale: float,
) -> Float[Tensor, "T H D"]:
    """Attend to finite numbers: a hidden key in a block that is read is multiplied by 0, so a NaN or Inf would leak."""
    tokens, num_keys = len(q), len(k)
    # A size of 1 would be compiled for apart, so there are 2 blocks and 2 sequences at least.
    q, k, v = (pad(x, max(len(x), 2 * BLOCK)) for x in (q, k, v))
    starts = [pad(x.to(q.device), max(len(x), 3), value=end) for x, end in ((starts_q, tokens), (starts_k, num_keys))]
    q, k, v, *starts = (mark_varying(x, 0) for x in (q, k, v, *starts))
    configuration = *q.shape[1:], k.shape[1], q.dtype, starts[0].dtype, starts[1].dtype, alignment
    with eager.no_autocast(q.device.type), torch.no_grad():
        mask = compile_for(_make_mask, *configuration)(q, k, *starts, alignment == "bottom_right")
        mask = [mark_varying(x, *range(x.dim())[-2 if x.dim() == 4 else -1 :]) for x in mask]
        out: Tensor = compile_for(_attend_masked, *configuration)(q, k, v, *mask, scale)
    return out[:tokens]


def _make_mask(
    q: Float[Tensor, "T H D"],
    k: Float[Tensor, "T_k G D"],
    starts_q: Int[Tensor, "B+1"],
    starts_k: Int[Tensor, "B+1"],
    bottom_right: bool,
) -> tuple[Tensor, ...]:
    """Return the interval of each query, then the block lists."""
    low, high = find_intervals(len(q), starts_q, starts_k, bottom_right)
    return low, high, *list_blocks(low, high, len(k))


def _attend_masked(
    q: Float[Tensor, "T H D"],
    k: Float[Tensor, "T_k G D"],
    v: Float[Tensor, "T_k G D"],
    low: Int[Tensor, "T"],
    high: Int[Tensor, "T"],
    counts: Int[Tensor, "1 1 Q"],
    indices: Int[Tensor, "1 1 Q K"],
    whole_counts: Int[Tensor, "1 1 Q"],
    whole_indices: Int[Tensor, "1 1 Q K"],
    scale: float,
) -> Float[Tensor, "T H D"]:
    """Attend under the intervals and the block lists; the part that is compiled."""

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return (low[query] <= key) & (key < high[query])

    blocks = flex.BlockMask(
        seq_lengths=(len(q), len(k)),
        kv_num_blocks=counts,
        kv_indices=indices,
        full_kv_num_blocks=whole_counts,
        full_kv_indices=whole_indices,
        q_num_blocks=None,
        q_indices=None,
        full_q_num_blocks=None,
        full_q_indices=None,
        BLOCK_SIZE=(BLOCK, BLOCK),
        mask_mod=sees,
    )
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    options: Any = {"enable_gqa": True, "kernel_options": _KERNEL_OPTIONS}
    out: Tensor = flex.flex_attention(q, k, v, block_mask=blocks, scale=scale, **options)
    return out[0].transpose(0, 1)


def find_intervals(
    tokens: int, starts_q: Int[Tensor, "B+1"], starts_k: Int[Tensor, "B+1"], bottom_right: bool
) -> tuple[Int[Tensor, "T"], Int[Tensor, "T"]]:
    """Return where the visible keys of each query begin and end; queries behind the last sequence see none."""
    row = torch.arange(tokens, device=starts_q.device)
    sequence = (row[:, None] >= starts_q[1:]).sum(dim=1).clamp(max=len(starts_q) - 2)
    low, keys = starts_k[sequence], starts_k[sequence + 1] - starts_k[sequence]
    before = row - starts_q[sequence]
    if bottom_right:
        before = before + keys - (starts_q[sequence + 1] - starts_q[sequence])
    real = row < starts_q[-1]
    low = low.where(real, starts_k[-1])
    return low, low + (before + 1).clamp(min=0).minimum(keys).where(real, 0)


def list_blocks(
    low: Int[Tensor, "T"], high: Int[Tensor, "T"], keys: int
) -> tuple[Int[Tensor, "1 1 Q"], Int[Tensor, "1 1 Q K"], Int[Tensor, "1 1 Q"], Int[Tensor, "1 1 Q K"]]:
    """Return counts and indices of the key blocks that each block of queries sees in part, then of those it sees whole.

    A key block is seen whole if every query of the block of queries sees all its keys.
    """
    first = torch.arange(0, len(low), BLOCK, device=low.device)
    last = (first + BLOCK - 1).clamp(max=len(low) - 1)
    start, end = low[first] // BLOCK, (high[last] + BLOCK - 1) // BLOCK
    whole = (low[last] + BLOCK - 1) // BLOCK
    wholes = (high[first] // BLOCK - whole).clamp(min=0)
    whole = whole.where(wholes > 0, end)
    nth = torch.arange(-(-keys // BLOCK), device=low.device)
    part = start[:, None] + nth
    part = part + wholes[:, None].where(part >= whole[:, None], 0)
    counts, indices = (end - start - wholes).clamp(min=0), part.clamp(max=len(nth) - 1)
    full = (whole[:, None] + nth).clamp(max=len(nth) - 1)
    return tuple(x.to(torch.int32)[None, None] for x in (counts, indices, wholes, full))  # type: ignore[return-value]
