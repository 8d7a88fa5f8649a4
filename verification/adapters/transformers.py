"""transformers' attention functions, with the masks that the library makes for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

from verification.adapter import DTYPES, FLASH_ON_CPU, INPUT, DenseAdapter, Precision, promising

# The attributes of a layer that the functions read: a kv head for each head, no dropout.
_LAYER: Any = SimpleNamespace(num_key_value_groups=1, training=False, is_causal=True)


class Eager(DenseAdapter):
    """Llama's eager attention in all dtypes but float64: "softmax(attn_weights, dim=-1, dtype=torch.float32)"."""

    name = "transformers/eager"
    contract = promising("float16", "bfloat16", "float32")
    # The source is the documentation. Scores and weights are in the inputs' dtype; scores are rounded before the scale,
    # and again after it. `Precision` has one rounding of scores; that of a scaled query is as large as the second, and
    # stands for it.
    precision = Precision(scores=INPUT, probabilities=INPUT, unscaled_scores=True, scaled_query=True, flushing=True)

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        mask = eager_mask(1, q.shape[1], k.shape[1], dtype=q.dtype) if causal else None
        out: Tensor = eager_attention_forward(_LAYER, q[None], k[None], v[None], mask, scale)[0]
        return out[0].transpose(0, 1)


class Sdpa(DenseAdapter):
    """The kernel that torch chooses on a processor, flash, under a mask that is always written out, as for a batch with
    padding.
    """

    name = "transformers/sdpa"
    contract = promising(*DTYPES)
    precision = FLASH_ON_CPU

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        mask = sdpa_mask(1, q.shape[1], k.shape[1], allow_is_causal_skip=False) if causal else None
        out, _ = sdpa_attention_forward(_LAYER, q[None], k[None], v[None], mask, scaling=scale, is_causal=False)
        return out[0].transpose(0, 1)
