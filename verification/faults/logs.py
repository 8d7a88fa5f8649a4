"""Faults in the range check."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attn_core import Attention, attention, causal_mask, notices
from verification.faults.planted import Original, swaps


@swaps(notices, "_log_range")
def log_nan_blind(original: Callable[..., None], name: str, low: float, high: float) -> None:
    """The check compares, and sees no NaN."""
    if high > notices.RANGE_LIMIT or low < -notices.RANGE_LIMIT:
        original(name, low, high)


@swaps(notices, "_log_range")
def log_one_sided(original: Callable[..., None], name: str, low: float, high: float) -> None:
    """Only the largest number is checked."""
    if not high <= notices.RANGE_LIMIT:
        original(name, low, high)


@swaps(Attention, "_check_numeric_range")
def log_after_cast(original: Original, layer: Attention, x: Tensor, name: str) -> Tensor:
    """Scores are checked after a cast to float16."""
    original(layer, x.half() if name.startswith("prefill_attn") else x, name)
    return x


@swaps(Attention, "_check_numeric_range")
def log_masked(original: Original, layer: Attention, x: Tensor, name: str) -> Tensor:
    """Scores are checked after the mask: the -inf of every causal row warns."""
    checked = x
    if name.startswith("prefill_attn"):
        checked = x.masked_fill(causal_mask(x.shape[1], x.shape[2], layer.causal_alignment, x.device), -torch.inf)
    original(layer, checked, name)
    return x


@swaps(attention, "check_numeric_range")
def log_empty_crash(original: Original, x: Tensor, name: str) -> Tensor:
    """The check of an empty tensor raises: it has no maximum."""
    x.aminmax()
    return original(x, name)
