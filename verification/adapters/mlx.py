"""mlx's ``fast.scaled_dot_product_attention`` on a processor, with masks, sinks and groups of heads."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import torch
from torch import Tensor

from verification.adapter import INPUT, Batch, BatchedAdapter, Precision, promising

# Bits that both know, for the one format that NumPy, by which they talk, does not.
_BITS = {torch.bfloat16: (torch.uint16, mx.bfloat16)}


def given(x: Tensor) -> mx.array:
    """The same numbers there."""
    bits, dtype = _BITS.get(x.dtype, (x.dtype, None))
    same = mx.array(x.contiguous().view(bits).numpy(), dtype=mx.float64 if x.dtype == torch.float64 else None)
    return same if dtype is None else same.view(dtype)


def taken(x: mx.array, dtype: torch.dtype) -> Tensor:
    """And back."""
    same = x.view(mx.uint16) if dtype in _BITS else x
    return torch.from_numpy(np.array(same)).view(dtype)


def attention(batch: Batch) -> Tensor:
    """Causality bottom-right by the word for it, anything else as part of the mask."""
    mask: Tensor | str | None = batch.mask
    if batch.alignment == "bottom_right" and not batch.window and mask is None:
        mask = "causal"
    elif batch.alignment != "none":
        mask = batch.whole_mask()
    out = mx.fast.scaled_dot_product_attention(
        *map(given, (batch.q, batch.k, batch.v)),
        scale=batch.scale,
        mask=given(mask) if isinstance(mask, Tensor) else mask,
        sinks=None if batch.sinks is None else given(batch.sinks),
    )
    return taken(out, batch.q.dtype)


class Attention(BatchedAdapter):
    """Masks are "boolean or additive", "at most 4 dimensions" and "broadcast-compatible". "The softmax operation is
    performed in float32": scores and weights are kept in the inputs' dtype, and the scale; of float64 it says that too.
    """

    name = "mlx/sdpa, masked"
    contract = promising(
        "float16",
        "bfloat16",
        "float32",
        phases=("prefill",),
        dense_batches=True,
        scoring=frozenset({"scale", "odd_scale", "bool_mask", "float_mask", "window", "sinks"}),
        alignments=("top_left", "bottom_right", "none"),
        blind="undefined",  # the mean of all values under a boolean mask, NaN under an additive one
    )
    precision = Precision(scores=INPUT, probabilities=INPUT, scaled_query=True, rounded_scale=True)

    def attend(self, batch: Batch) -> Tensor:
        return attention(batch)
