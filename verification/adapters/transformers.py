"""transformers' attention functions, with the masks that the library makes for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

from verification.adapter import (
    DTYPES,
    FLASH_ON_CPU,
    FLASH_ON_CPU_LINES,
    INPUT,
    DenseAdapter,
    Precision,
    Weaker,
    promising,
)

# The attributes of a layer that the functions read: a kv head for each head, no dropout.
_LAYER: Any = SimpleNamespace(num_key_value_groups=1, training=False, is_causal=True)
_SOURCE = "transformers/models/llama/modeling_llama.py"
_SCALED = "attn_weights = torch.matmul(query, key_states.transpose(2, 3)) * scaling"
_SOFTMAX = "attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)"
_MASK = "-inf (minimum value for the given `dtype`)"


class Eager(DenseAdapter):
    """Llama's eager attention in all dtypes but float64: "softmax(attn_weights, dim=-1, dtype=torch.float32)"."""

    name = "transformers/eager"
    contract = promising("float16", "bfloat16", "float32")
    # The source is the documentation. Scores and weights are in the inputs' dtype; scores are rounded before the scale,
    # and again after it. `Precision` has one rounding of scores; that of a scaled query is as large as the second, and
    # stands for it.
    precision = Precision(scores=INPUT, probabilities=INPUT, unscaled_scores=True, scaled_query=True, flushing=True)
    weaker = (
        Weaker("dtypes", _SOFTMAX, _SOURCE, "findings 10", ("float64",)),
        Weaker("nonfinite", _MASK, "transformers/masking_utils.py", "findings 8"),
        Weaker("scores", _SCALED, _SOURCE, "the source says so, findings 16"),
        Weaker("unscaled_scores", _SCALED, _SOURCE, "the source says so, findings 16"),
        Weaker("scaled_query", _SCALED, _SOURCE, "scores are rounded before the scale and again after it"),
        Weaker("probabilities", _SOFTMAX, _SOURCE, "the source says so"),
        Weaker("flushing", "", _SOURCE, "a processor's bfloat16 instructions take subnormal numbers for 0"),
    )

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
    weaker = FLASH_ON_CPU_LINES

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        mask = sdpa_mask(1, q.shape[1], k.shape[1], allow_is_causal_skip=False) if causal else None
        out, _ = sdpa_attention_forward(_LAYER, q[None], k[None], v[None], mask, scaling=scale, is_causal=False)
        return out[0].transpose(0, 1)
