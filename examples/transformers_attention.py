"""`attn_core` as an attention function of Hugging Face transformers, over a paged cache.

The model is given all tokens of a step as one row. The `Context` tells which prompt a token belongs to, and where the
cache holds what it sees: there is no padding, no mask, and none of the library's caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from attn_core import Attention, attention_context
from examples.paged import Pages

# The model's `attn_implementation`.
NAME = "attn_core"
# Options that a model may ask for and `attn_core` does not have.
NOT_DONE = ("attention_mask", "dropout", "sliding_window", "softcap", "s_aux")
Implementation = Literal["eager", "sdpa"]


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend for a module of the model, and return the output ``[1, T, H, D]``.

    ``query`` is ``[1, H, T, D]``, ``key`` and ``value`` are ``[1, G, T, D]``, and both are rotated already. Raises
    NotImplementedError for what would be left out in silence, and for more than one row of tokens.
    """
    asked = {"attention_mask": attention_mask, "dropout": dropout or None, **options}
    refused = [name for name in NOT_DONE if asked.get(name) is not None]
    if refused:
        raise NotImplementedError(f"attn_core does not do {', '.join(refused)}")
    if len(query) != 1:
        raise NotImplementedError(f"{len(query)} rows of tokens: all prompts must lie in one, end to end")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    return module.paged(q, k, v).view(1, *q.shape), None


AttentionInterface.register(NAME, attend)


def install(model: PreTrainedModel, pages: Pages, implementation: Implementation = "sdpa") -> None:
    """Give a layer and its share of the cache to every attention module of a decoder that was made for `NAME`."""
    for decoder_layer in model.model.layers:
        module = decoder_layer.self_attn
        heads, kv_heads = model.config.num_attention_heads, model.config.num_key_value_heads
        layer = Attention(heads, module.head_dim, kv_heads, on_invalid="raise", implementation=implementation)
        layer.scale = module.scaling  # the model's word, not 1/sqrt(head_dim)
        layer.k_cache, layer.v_cache = pages.cache(layer, model.dtype), pages.cache(layer, model.dtype)
        module.paged = layer


@torch.inference_mode()
def generate_greedily(
    model: PreTrainedModel, pages: Pages, prompts: Sequence[Tensor], steps: int, forced: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Prefill, then decode ``steps`` times; return the tokens ``[B, 1 + steps]`` and the logits that chose them.

    ``forced`` tokens are read in place of the chosen ones.
    """
    lengths = [len(prompt) for prompt in prompts]
    ids, positions = torch.cat(list(prompts)), torch.cat([torch.arange(length) for length in lengths])
    context, ends = pages.prefill(lengths), torch.tensor(lengths).cumsum(0) - 1
    rows = []
    for step in range(1 + steps):
        with attention_context(context):
            logits = model(input_ids=ids[None], position_ids=positions[None], use_cache=False).logits[0]
        rows.append(logits if step else logits[ends])
        ids = rows[-1].argmax(dim=-1) if forced is None else forced[:, step]
        if step < steps:
            positions, context = torch.tensor(pages.lengths), pages.decode()
    chosen = torch.stack(rows, dim=1)
    return chosen.argmax(dim=-1), chosen
