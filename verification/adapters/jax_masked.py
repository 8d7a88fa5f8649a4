"""JAX's dot_product_attention with its masks, biases, windows and groups of heads."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from verification.adapter import INPUT, Batch, BatchedAdapter, Precision, Weaker, promising
from verification.adapters.jax import DOCUMENTATION, LINES, SOURCE


def _to_jax(x: Tensor) -> Any:
    return jnp.from_dlpack(x.contiguous())


class MaskedAttention(BatchedAdapter):
    """JAX's attention under masks and biases, in the dtypes of `DotProductAttention`.

    Its documentation says "mask: boolean mask where True indicates the element should take part in attention. For an
    additive mask, users should pass it to bias", broadcastable to ``[B, heads, Lq, Lk]``. Causality and the window have
    arguments of their own, but none is bottom-right: that is a mask here. Arrays are ``[B, L, heads, D]``.
    """

    name = "jax/dot_product_attention, masked"
    contract = promising(
        "float16",
        "bfloat16",
        "float32",
        phases=("prefill",),
        head_dims=(16, 64),
        dense_batches=True,
        scoring=frozenset({"scale", "odd_scale", "bool_mask", "float_mask", "window"}),
        alignments=("top_left", "bottom_right", "none"),
        blind="mean",  # a hidden score is a low number, so that all scores of such a row are equal
    )
    precision = Precision(probabilities=INPUT, flushing=True)
    weaker = (
        *LINES,
        Weaker("blind", "", DOCUMENTATION, "findings 17"),
        Weaker("scoring", "", DOCUMENTATION, "it has no such argument", ("alibi", "sinks", "softcap")),
        Weaker(
            "scoring",
            "It is a boolean mask where `True` indicates the element should take part in attention.",
            SOURCE,
            "findings 17: the mean, or NaN where -inf is in the bias",
            ("blind_rows",),
        ),
    )

    def attend(self, batch: Batch) -> Tensor:
        options: dict[str, Any] = {"scale": batch.scale}
        visible = None
        if batch.alignment == "top_left":
            options["is_causal"] = True
            if batch.window:  # "each token's local window": keys to its left, itself not counted
                options["local_window_size"] = (batch.window - 1, 0)
        elif batch.alignment == "bottom_right":
            visible = batch.visible()[None, None]
        if batch.mask is not None and batch.mask.is_floating_point():
            options["bias"] = _to_jax(batch.mask)
        elif batch.mask is not None:
            visible = batch.mask if visible is None else visible & batch.mask
        if visible is not None:
            options["mask"] = _to_jax(visible)
        q, k, v = (_to_jax(x.transpose(1, 2)) for x in (batch.q, batch.k, batch.v))
        # Not under jax.jit, where float16 raises on a processor (docs/findings.md, 9).
        return from_dlpack(jax.nn.dot_product_attention(q, k, v, **options)).transpose(1, 2).clone()
