"""Faults in ragged batches: one sequence is taken for another, or lost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attn_core import Attention, get_context
from verification.faults.planted import Original, swaps


@swaps(Attention, "_prefill_attn", "vllm-project/vllm#39120")
def ragged_last_lost(
    original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor
) -> Tensor:
    """cu_seqlens are cut short: of two sequences or more, the last is not computed."""
    kept = len(starts_q) - (len(starts_q) > 2)
    output = original(layer, q, k, v, starts_q[:kept], starts_k[:kept])
    return torch.cat((output, q.new_zeros(len(q) - len(output), *q.shape[1:])))


@swaps(Attention, "_prefill_attn", "Dao-AILab/flash-attention#2562")
def ragged_empty_shifts(
    original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor
) -> Tensor:
    """A sequence without queries is left out of cu_seqlens_q: the next one's queries get its keys."""
    ends = starts_q[1:][starts_q.diff() > 0]
    padding = starts_q[-1:].expand(len(starts_q) - 1 - len(ends))
    return original(layer, q, k, v, torch.cat((starts_q[:1], ends, padding)), starts_k)


@swaps(Attention, "_attend", "vllm-project/vllm#19784")
def ragged_uninitialised(original: Original, layer: Attention, q: Tensor, k: Tensor, *rest: Any) -> Tensor:
    """The rows of a sequence without keys are never written; here they hold the NaN that was there before."""
    output = original(layer, q, k, *rest)
    return output if len(k) else torch.full_like(output, torch.nan)


@swaps(Attention, "_prefill_attn")
def ragged_max_seqlen(
    original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor
) -> Tensor:
    """max_seqlen_q bounds the keys as well: a longer sequence of keys is cut short."""
    lengths = starts_k.diff().clamp(max=get_context().max_seqlen_q)
    kept = [torch.arange(int(start), int(start + length)) for start, length in zip(starts_k, lengths, strict=False)]
    token = torch.cat([torch.arange(0), *kept])
    return original(layer, q, k[token], v[token], starts_q, torch.cat((starts_k[:1], lengths.cumsum(0))))


@swaps(Attention, "_prefill_attn")
def ragged_cu_q_for_k(
    original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor, starts_q: Tensor, starts_k: Tensor
) -> Tensor:
    """cu_seqlens_q is used for the keys too."""
    return original(layer, q, k, v, starts_q, starts_q)


@swaps(Attention, "forward", "nod-ai/amd-shark-ai#665")
def batch_leak(original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sequence's NaN reaches the others, multiplied by 0."""
    output = original(layer, q, k, v)
    return output + output.masked_fill(~output.isnan(), 0).sum(dim=0)
