"""mlx's ``fast.scaled_dot_product_attention`` on a processor, with masks, sinks and groups of heads."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import torch
from torch import Tensor

from verification.adapter import INPUT, Batch, BatchedAdapter, Precision, Weaker, promising

# Numbers travel by NumPy, which has no bfloat16: they go as 16-bit integers, which all three know.
_BITS = {torch.bfloat16: (torch.uint16, mx.bfloat16)}
_DOCUMENTATION = "mlx.core.fast.scaled_dot_product_attention"
_SOFTMAX = "The softmax operation is performed in `float32` regardless of the input precision."


def to_mlx(x: Tensor) -> mx.array:
    """Return an array of mlx with the numbers of ``x``, in its dtype."""
    bits, dtype = _BITS.get(x.dtype, (x.dtype, None))
    same = mx.array(x.contiguous().view(bits).numpy(), dtype=mx.float64 if x.dtype == torch.float64 else None)
    return same if dtype is None else same.view(dtype)


def from_mlx(x: mx.array, dtype: torch.dtype) -> Tensor:
    """Return a tensor with the numbers of an array of mlx, whose dtype is ``dtype`` there."""
    same = x.view(mx.uint16) if dtype in _BITS else x
    return torch.from_numpy(np.array(same)).view(dtype)


class Attention(BatchedAdapter):
    """mlx's attention in all dtypes but float64.

    Its documentation says that a mask is "boolean or additive", with "at most 4 dimensions" and "broadcast-compatible",
    and that "the softmax operation is performed in float32 regardless of the input precision", float64 included.
    Scores, weights and the scale are kept in the inputs' dtype. Plain causality bottom-right is the mask ``"causal"``,
    any other is part of the mask.
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
    documented = Precision(probabilities=INPUT, scaled_query=True)
    weaker = (
        Weaker("dtypes", _SOFTMAX, _DOCUMENTATION, "findings 10", ("float64",)),
        Weaker("scores", _SOFTMAX, _DOCUMENTATION, "findings 15"),
        Weaker("probabilities", "", _DOCUMENTATION, "the weights are cast to the inputs' dtype behind the softmax"),
        Weaker("scaled_query", "Scale for queries", _DOCUMENTATION, "the documentation says so"),
        Weaker("rounded_scale", "scale (float)", _DOCUMENTATION, "findings 15"),
        Weaker("nonfinite", "", _DOCUMENTATION, "nothing is said of NaN and Inf"),
        Weaker("blind", "", _DOCUMENTATION, "findings 17"),
        Weaker("scoring", "", _DOCUMENTATION, "findings 17", ("blind_rows",)),
        Weaker("scoring", "", _DOCUMENTATION, "it has no such argument", ("alibi", "softcap")),
    )

    def attend(self, batch: Batch) -> Tensor:
        mask: Tensor | str | None = batch.mask
        if batch.alignment == "bottom_right" and not batch.window and mask is None:
            mask = "causal"
        elif batch.alignment != "none":
            mask = batch.whole_mask()
        out = mx.fast.scaled_dot_product_attention(
            *map(to_mlx, (batch.q, batch.k, batch.v)),
            scale=batch.scale,
            mask=to_mlx(mask) if isinstance(mask, Tensor) else mask,
            sinks=None if batch.sinks is None else to_mlx(batch.sinks),
        )
        return from_mlx(out, batch.q.dtype)
