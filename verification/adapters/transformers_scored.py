"""What transformers' models do to scores besides a mask: Gemma 2's softcap, GPT-OSS's sinks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss

from verification.adapter import Batch, BatchedAdapter, Contract, Precision, promising


def _with(feature: str) -> Contract:
    """In float32: narrower dtypes are rounded to after each step, of which no profile here knows so many."""
    return promising(
        "float32",
        phases=("prefill",),
        dense_batches=True,
        scoring=frozenset({feature, "scale", "odd_scale", "bool_mask", "float_mask", "window"}),
        alignments=("top_left", "bottom_right", "none"),
        blind="mean",  # of a mask that is finite
    )


def _layer(batch: Batch) -> Any:
    """What the functions read of one."""
    groups = batch.q.shape[1] // batch.k.shape[1]
    return SimpleNamespace(num_key_value_groups=groups, training=False, sinks=batch.sinks)


def _added(batch: Batch) -> Tensor:
    """The mask as these models get it: ``torch.finfo(dtype).min`` where nothing is to be seen."""
    hidden = ~batch.visible()
    if batch.mask is None:
        added = torch.zeros(hidden.shape, dtype=batch.q.dtype)
    elif batch.mask.is_floating_point():
        added = batch.mask
    else:
        added, hidden = torch.zeros(batch.mask.shape, dtype=batch.q.dtype), hidden | ~batch.mask
    return added.masked_fill(hidden, torch.finfo(batch.q.dtype).min)


class Gemma2(BatchedAdapter):
    """With a softcap between scale and mask."""

    name = "transformers/gemma2 eager"
    contract = _with("softcap")
    precision = Precision()

    def attend(self, batch: Batch) -> Tensor:
        options: dict[str, Any] = {"scaling": batch.scale, "softcap": batch.softcap or None}
        out: Tensor = gemma2(_layer(batch), batch.q, batch.k, batch.v, _added(batch), **options)[0]
        return out.transpose(1, 2)


class GptOss(BatchedAdapter):
    """A row that sees nothing sees its sink, where there is one."""

    name = "transformers/gpt-oss eager"
    contract = _with("sinks")
    precision = Precision()

    def attend(self, batch: Batch) -> Tensor:
        layer = _layer(batch)
        if layer.sinks is None:  # one that weighs nothing
            layer.sinks = batch.q.new_full((batch.q.shape[1],), -torch.inf)
        out: Tensor = gpt_oss(layer, batch.q, batch.k, batch.v, _added(batch), batch.scale)[0]
        return out.transpose(1, 2)
