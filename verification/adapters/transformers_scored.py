"""Steps of transformers' models on scores besides a mask: Gemma 2's softcap, GPT-OSS's sinks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss

from verification.adapter import Batch, BatchedAdapter, Contract, Precision, promising


def _promise(feature: str) -> Contract:
    """Return a contract with one more feature, in float32 alone.

    In narrower dtypes the model rounds after every step, which `Precision` cannot express.
    """
    return promising(
        "float32",
        phases=("prefill",),
        dense_batches=True,
        scoring=frozenset({feature, "scale", "odd_scale", "bool_mask", "float_mask", "window"}),
        alignments=("top_left", "bottom_right", "none"),
        blind="mean",  # the mask is finite, so that all scores of such a row are equal
    )


def _make_layer(batch: Batch) -> Any:
    """Return a stand-in for a layer, with the attributes that the functions read."""
    groups = batch.q.shape[1] // batch.k.shape[1]
    return SimpleNamespace(num_key_value_groups=groups, training=False, sinks=batch.sinks)


def _make_added_mask(batch: Batch) -> Tensor:
    """Return the mask as these models get it: added to scores, with ``torch.finfo(dtype).min`` for hidden keys."""
    hidden = ~batch.visible()
    if batch.mask is None:
        added = torch.zeros(hidden.shape, dtype=batch.q.dtype)
    elif batch.mask.is_floating_point():
        added = batch.mask
    else:
        added, hidden = torch.zeros(batch.mask.shape, dtype=batch.q.dtype), hidden | ~batch.mask
    return added.masked_fill(hidden, torch.finfo(batch.q.dtype).min)


class Gemma2(BatchedAdapter):
    """Gemma 2's attention, with a softcap between scale and mask."""

    name = "transformers/gemma2 eager"
    contract = _promise("softcap")
    precision = Precision()

    def attend(self, batch: Batch) -> Tensor:
        options: dict[str, Any] = {"scaling": batch.scale, "softcap": batch.softcap or None}
        out: Tensor = gemma2(_make_layer(batch), batch.q, batch.k, batch.v, _make_added_mask(batch), **options)[0]
        return out.transpose(1, 2)


class GptOss(BatchedAdapter):
    """GPT-OSS's attention, with sinks. In a row that sees no key a sink takes all of the weight."""

    name = "transformers/gpt-oss eager"
    contract = _promise("sinks")
    precision = Precision()

    def attend(self, batch: Batch) -> Tensor:
        layer = _make_layer(batch)
        if layer.sinks is None:  # the function needs a sink: this one has no weight
            layer.sinks = batch.q.new_full((batch.q.shape[1],), -torch.inf)
        out: Tensor = gpt_oss(layer, batch.q, batch.k, batch.v, _make_added_mask(batch), batch.scale)[0]
        return out.transpose(1, 2)
