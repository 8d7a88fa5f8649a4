"""Faults in the causal mask, and in the rows that see nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_core import Attention, attention, eager
from verification.faults.planted import Original, swaps


def _mask(num_queries: int, num_keys: int, alignment: str, first_hidden: int) -> Tensor:
    """Return a mask ``[Lq, Lk]`` that hides the key ``first_hidden`` places after a query's own, and all later keys."""
    offset = num_keys - num_queries if alignment == "bottom_right" else 0
    return torch.ones(num_queries, num_keys, dtype=torch.bool).triu(diagonal=first_hidden + offset)


def _dead_rows(hidden: Tensor) -> Tensor:
    """Return the rows that see nothing, ``[Lq, 1]``, in which a wrong value of the mask would show too easily."""
    return hidden.all(dim=-1, keepdim=True)


@swaps(attention, "causal_mask", "Dao-AILab/flash-attention#282")
def mask_top_left(original: Original, num_queries: int, num_keys: int, alignment: str, device: torch.device) -> Tensor:
    """The mask is top-left where bottom-right was asked for, and the reverse."""
    other = "top_left" if alignment == "bottom_right" else "bottom_right"
    return original(num_queries, num_keys, other, device)


@swaps(attention, "causal_mask")
def mask_strict(original: Original, num_queries: int, num_keys: int, alignment: str, device: torch.device) -> Tensor:
    """A query cannot see its own key."""
    return _mask(num_queries, num_keys, alignment, first_hidden=0)


@swaps(attention, "causal_mask")
def mask_one_future(
    original: Original, num_queries: int, num_keys: int, alignment: str, device: torch.device
) -> Tensor:
    """The diagonal lies one key too far: a query sees its next token."""
    return _mask(num_queries, num_keys, alignment, first_hidden=2)


@swaps(attention, "causal_mask", "microsoft/onnxruntime#29020")
def mask_skipped_lq1(
    original: Original, num_queries: int, num_keys: int, alignment: str, device: torch.device
) -> Tensor:
    """One query needs no mask: true of a decode, not of a prefill that is top-left."""
    return original(num_queries, num_keys, alignment, device) & (num_queries > 1)


@swaps(eager, "attention_weights", "microsoft/onnxruntime#28904")
def mask_finite(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Masked scores are -1e4, which is more than some visible ones."""
    if hidden is None:
        return original(scores)
    return original(scores.masked_fill(hidden, -1e4)).masked_fill(_dead_rows(hidden), 0.0)


@swaps(eager, "attention_weights")
def mask_clamped(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Scores are clamped to +-100 after masking."""
    if hidden is None:
        return original(scores.clamp(-100, 100))
    return original(scores.masked_fill(hidden, -torch.inf).clamp(-100, 100)).masked_fill(_dead_rows(hidden), 0.0)


@swaps(eager, "attention_weights", "deepbeepmeep/Wan2GP#1628")
def mask_additive_nan(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """The mask is added: NaN + -inf is NaN, so a poisoned hidden key spoils the row."""
    penalty = torch.zeros_like(scores) if hidden is None else torch.zeros_like(scores).masked_fill(hidden, -torch.inf)
    weights = original(scores + penalty)
    return weights if hidden is None else weights.masked_fill(hidden, 0.0)


@swaps(eager, "attention_weights", "pytorch/pytorch#103749")
def mask_dead_row_nan(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """A row that sees nothing is NaN: 0 / 0."""
    return original(scores if hidden is None else scores.masked_fill(hidden, -torch.inf))


@swaps(eager, "attention_weights", "microsoft/onnxruntime#28904")
def mask_dead_row_mean(original: Original, scores: Tensor, hidden: Tensor | None = None) -> Tensor:
    """A row that sees nothing is the mean of V: all of its scores are equally low."""
    return original(scores if hidden is None else scores.masked_fill(hidden, torch.finfo(scores.dtype).min))


@swaps(Attention, "_attend", "Dao-AILab/flash-attention#2528")
def mask_row_by_group(
    original: Original,
    layer: Attention,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dtype: torch.dtype,
    hidden: Tensor | None = None,
    *name: str,
) -> Tensor:
    """The row of the mask is the query's index divided by the group size, as if rows were packed by group."""
    rows = torch.arange(len(q)) // layer.num_rep
    return original(layer, q, k, v, dtype, None if hidden is None else hidden[rows], *name)
