"""Steps of transformers' models on scores besides a mask: Gemma 2's softcap, GPT-OSS's sinks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss

from verification.adapter import Batch, BatchedAdapter, Contract, Precision, Weaker, promising

_GEMMA, _GPT = (f"transformers/models/{name}/modeling_{name}.py" for name in ("gemma2", "gpt_oss"))
_MASK, _MASKS = "-inf (minimum value for the given `dtype`)", "transformers/masking_utils.py"
_EACH_STEP = "it rounds after every step, which `Precision` cannot express"
# Lines that hold of both.
_LINES = (
    Weaker("nonfinite", _MASK, _MASKS, "findings 8"),
    Weaker("blind", _MASK, _MASKS, "findings 8: all scores of such a row are equal"),
    Weaker(
        "scoring", _MASK, _MASKS, "findings 8: the mean under a boolean mask, NaN where -inf is added", ("blind_rows",)
    ),
)


def _promise(feature: str, *dtypes: str) -> Contract:
    """Return a contract with one more feature.

    In 16-bit dtypes the model rounds after every step, which `Precision` cannot express.
    """
    return promising(
        *dtypes,
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
    contract = _promise("softcap", "float32")
    precision = Precision()
    weaker = (
        *_LINES,
        Weaker("dtypes", "attn_weights = torch.tanh(attn_weights)", _GEMMA, _EACH_STEP, ("float16", "bfloat16")),
        Weaker(
            "dtypes",
            "attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)",
            _GEMMA,
            "findings 10",
            ("float64",),
        ),
        Weaker("scoring", "", _GEMMA, "it has no such step", ("alibi", "sinks")),
    )

    def attend(self, batch: Batch) -> Tensor:
        options: dict[str, Any] = {"scaling": batch.scale, "softcap": batch.softcap or None}
        out: Tensor = gemma2(_make_layer(batch), batch.q, batch.k, batch.v, _make_added_mask(batch), **options)[0]
        return out.transpose(1, 2)


class GptOss(BatchedAdapter):
    """GPT-OSS's attention, with sinks. In a row that sees no key a sink takes all of the weight."""

    name = "transformers/gpt-oss eager"
    contract = _promise("sinks", "float32", "float64")
    precision = Precision()
    weaker = (
        *_LINES,
        Weaker(
            "dtypes",
            "probs = F.softmax(combined_logits, dim=-1, dtype=combined_logits.dtype)",
            _GPT,
            _EACH_STEP,
            ("float16", "bfloat16"),
        ),
        Weaker("scoring", "", _GPT, "it has no such step", ("alibi", "softcap")),
    )

    def attend(self, batch: Batch) -> Tensor:
        layer = _make_layer(batch)
        if layer.sinks is None:  # the function needs a sink: this one has no weight
            layer.sinks = batch.q.new_full((batch.q.shape[1],), -torch.inf)
        out: Tensor = gpt_oss(layer, batch.q, batch.k, batch.v, _make_added_mask(batch), batch.scale)[0]
        return out.transpose(1, 2)
