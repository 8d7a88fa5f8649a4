"""A torch-native `Attention` layer over a paged KV cache: readable, exact to its contract, and nothing else."""

from attn_core.attention import Attention
from attn_core.cache import store_kvcache
from attn_core.context import Context, attention_context, get_context, reset_context, set_context
from attn_core.heads import repeat_kv
from attn_core.masks import causal_mask

__all__ = [
    "Attention",
    "Context",
    "attention_context",
    "causal_mask",
    "get_context",
    "repeat_kv",
    "reset_context",
    "set_context",
    "store_kvcache",
]
