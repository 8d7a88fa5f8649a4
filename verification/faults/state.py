"""Faults in what is read, kept or overwritten: strides, index types, the input, plans, the cache."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_core import Attention, get_context
from verification.faults.planted import Original, swaps


@swaps(Attention, "forward")
def input_scaled(original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The caller's q is scaled in place."""
    output = original(layer, q, k, v)
    q.mul_(layer.scale)
    return output


@swaps(Attention, "_prefill_attn", "flagos-ai/FlagGems#5896")
def view_v_contiguous(
    original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor
) -> Tensor:
    """V is read as if it were contiguous."""
    packed = v.as_strided(v.shape, (v.shape[1] * v.shape[2], v.shape[2], 1))
    return original(layer, q, k, packed, starts_q, starts_k)


@swaps(Attention, "_decode_attn", "flashinfer-ai/flashinfer#1654")
def index_int64_as_int32(
    original: Original, layer: Attention, q: Tensor, context_lens: Tensor, block_tables: Tensor
) -> Tensor:
    """int64 block tables are read as int32: every other entry is 0 or -1."""
    given = get_context().block_tables
    if given is not None and given.dtype == torch.int64:
        block_tables = given.contiguous().view(torch.int32)[:, : given.shape[1]].to(torch.int64)
    return original(layer, q, context_lens, block_tables)


@swaps(Attention, "_decode_attn", "flashinfer-ai/flashinfer#4270")
def memo_by_shape(
    original: Original, layer: Attention, q: Tensor, context_lens: Tensor, block_tables: Tensor
) -> Tensor:
    """A plan is kept by the shape alone, and used again for other lengths."""
    plans = layer.__dict__.setdefault("plans", {})
    return original(layer, q, plans.setdefault(block_tables.shape, context_lens), block_tables)


@swaps(Attention, "forward")
def cache_reallocated(original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The second call zeroes the cache before it stores."""
    if layer.__dict__.setdefault("called", False):
        layer.k_cache.zero_()
        layer.v_cache.zero_()
    layer.__dict__["called"] = True
    return original(layer, q, k, v)
