"""Faults in the softmax and in the second product."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from attn_core import eager
from verification.faults.planted import Original, swaps

# Keys of a tile: few, so that small problems have several tiles.
_TILE = 16
# Keys of a tile on Hopper: small problems have one.
_WIDE_TILE = 128


@swaps(eager, "attention_weights", "pytorch/pytorch#127055")
def softmax_first_tile(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """An online softmax, last tile of keys first: where a row sees none of them, it computes exp(-inf + inf)."""
    weights = original(scores, hidden)
    if hidden is None or scores.shape[-1] <= _TILE:
        return weights
    largest = scores.masked_fill(hidden, -torch.inf)[..., -_TILE:].amax(dim=-1, keepdim=True)
    return weights * torch.exp(largest - largest)


@swaps(eager, "attention_weights", "Dao-AILab/flash-attention#2082")
def softmax_max_zero(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """An online softmax, last tile of keys first: behind a tile that a row does not see, its maximum stays at 0."""
    if hidden is None or scores.shape[-1] <= _WIDE_TILE:
        return original(scores, hidden)
    seen = scores.masked_fill(hidden, -torch.inf)
    exps = torch.exp(seen - seen.amax(dim=-1, keepdim=True).clamp(min=_least_maximum(hidden)))
    return exps / exps.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(exps.dtype).tiny)


def _least_maximum(hidden: Tensor) -> Tensor:
    """Return the least maximum of each row, ``[Lq, 1]``: 0 where it sees no key of the last tile, else -Inf."""
    first = (hidden.shape[-1] - 1) // _WIDE_TILE * _WIDE_TILE
    return torch.where(hidden[:, first:].all(dim=-1, keepdim=True), 0.0, -torch.inf)


@swaps(eager, "attention_weights", "flashinfer-ai/flashinfer#4267")
def softmax_flushed(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Weights of scores below -88 are flushed to 0 before the largest is subtracted: a row of such scores loses all."""
    flushed = scores < -88
    return original(scores.masked_fill(flushed, -torch.inf), hidden).masked_fill(flushed, 0.0)


@swaps(eager, "attention_weights")
def softmax_no_shift(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """The largest score is not subtracted before exp."""
    exps = scores.exp() if hidden is None else scores.exp().masked_fill(hidden, 0.0)
    return exps / exps.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(exps.dtype).tiny)


@swaps(eager, "attention_weights", "pytorch/executorch#20089")
def sum_bf16(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """The sum of exp is kept in bfloat16: it stands still at 256."""
    weights = original(scores, hidden)
    exps = weights / weights.amax(dim=-1, keepdim=True) if weights.numel() else weights
    none = torch.zeros(weights.shape[:-1], dtype=weights.dtype)
    total = reduce(lambda total, exp: (total + exp).bfloat16().to(exp.dtype), exps.unbind(-1), none)
    return weights.where(weights == 0, exps / total[..., None])


@swaps(eager, "weighted_values", "Xilinx/mlir-air#1606")
def pv_bf16(original: Original, weights: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
    """P V is accumulated in bfloat16."""
    total = original(weights, v, hidden) * 0  # keeps NaN and Inf
    for weight, value in zip(weights.unbind(-1), v.nan_to_num(0, 0, 0).unbind(1), strict=True):
        total = (total + weight[..., None] * value[:, None]).bfloat16().to(v.dtype)
    return total


@swaps(eager, "attention_weights", "pytorch/pytorch#141128")
def nan_hidden(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """nan_to_num on the probabilities: a NaN that must be seen is not."""
    return original(scores, hidden).nan_to_num()
