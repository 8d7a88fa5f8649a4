"""Faults in the store: which slots are written, by which tokens, and what else changes."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from attn_core import Attention, Context, attention, cache, get_context
from verification.faults.planted import Original, swaps


@swaps(cache, "valid_slots", "vllm-project/vllm#43810")
def slot_wraps(original: Original, slots: Tensor, num_slots: int) -> Tensor:
    """-1 // S is -1: padding overwrites the last slot."""
    return original(slots, num_slots) | (slots == cache.PADDING_SLOT)


@swaps(cache, "valid_slots")
def slot_negative_wraps(original: Original, slots: Tensor, num_slots: int) -> Tensor:
    """Only the negative slot -1 is left out; -2 wraps around."""
    return original(slots, num_slots) | ((slots < cache.PADDING_SLOT) & (slots >= -num_slots))


@swaps(attention, "store_kvcache", "microsoft/onnxruntime#32391")
def slot_clamped(
    original: Original, key: Tensor, value: Tensor, k_cache: Tensor, v_cache: Tensor, slot_mapping: Tensor
) -> Tensor:
    """A slot behind the cache's end is clamped into it."""
    last = k_cache.shape[0] * k_cache.shape[1] - 1
    return original(key, value, k_cache, v_cache, slot_mapping.clamp(max=last))


@swaps(attention, "store_kvcache", "vllm-project/vllm#5977")
def slot_pad_to_zero(
    original: Original, key: Tensor, value: Tensor, k_cache: Tensor, v_cache: Tensor, slot_mapping: Tensor
) -> Tensor:
    """Padding goes to slot 0."""
    return original(key, value, k_cache, v_cache, slot_mapping.masked_fill(slot_mapping == -1, 0))


@swaps(cache, "last_writer")
def slot_first_wins(original: Original, slots: Tensor) -> Tensor:
    """The first of equal slots wins."""
    return _first_writer(slots)


@swaps(attention, "store_kvcache")
def slot_kv_torn(
    original: Original, key: Tensor, value: Tensor, k_cache: Tensor, v_cache: Tensor, slot_mapping: Tensor
) -> Tensor:
    """The first of equal slots wins for K, and the last for V."""
    return original(key[_first_writer(slot_mapping)], value, k_cache, v_cache, slot_mapping)


@swaps(attention, "store_kvcache", "vllm-project/vllm#36580")
def slot_chunk_relative(
    original: Original, key: Tensor, value: Tensor, k_cache: Tensor, v_cache: Tensor, slot_mapping: Tensor
) -> Tensor:
    """Slots are counted from the start of the chunk of queries, not from that of the sequence's keys."""
    starts_q, starts_k = get_context().cu_seqlens_q, get_context().cu_seqlens_k
    if starts_q is None or starts_k is None:
        return original(key, value, k_cache, v_cache, slot_mapping)
    ahead = (starts_k - starts_q)[:-1].repeat_interleave(starts_k.diff())
    return original(key, value, k_cache, v_cache, slot_mapping[(torch.arange(len(key)) - ahead).clamp(0, len(key) - 1)])


@swaps(attention, "store_kvcache")
def slot_clears_block(
    original: Original, key: Tensor, value: Tensor, k_cache: Tensor, v_cache: Tensor, slot_mapping: Tensor
) -> Tensor:
    """Writing a token clears the rest of its block."""
    size = k_cache.shape[1]
    for slot in slot_mapping[cache.valid_slots(slot_mapping, len(k_cache) * size)].tolist():
        k_cache[slot // size, slot % size + 1 :] = v_cache[slot // size, slot % size + 1 :] = 0
    return original(key, value, k_cache, v_cache, slot_mapping)


@swaps(attention, "store_kvcache", "vllm-project/vllm-xpu-kernels#429")
def store_packed_heads(
    original: Original, key: Tensor, value: Tensor, k_cache: Tensor, v_cache: Tensor, slot_mapping: Tensor
) -> Tensor:
    """A view of a fused projection is stored as if its tokens and heads were packed."""
    packed = (x.as_strided(x.shape, (x.shape[1] * x.shape[2], x.shape[2], 1)) for x in (key, value))
    return original(*packed, k_cache, v_cache, slot_mapping)


@swaps(Attention, "_validate")
def store_before_check(original: Original, layer: Attention, context: Context, q: Any, k: Any, v: Any) -> Any:
    """The cache has changed when the call is refused."""
    with suppress(AttributeError, IndexError, RuntimeError, TypeError):  # bad input, stored as far as it goes
        slots = context.slot_mapping[context.slot_mapping >= 0]  # type: ignore[index,operator]
        layer.k_cache[slots // layer.k_cache.shape[1], slots % layer.k_cache.shape[1]] = k[: len(slots)]
    return original(layer, context, q, k, v)


def _first_writer(slots: Tensor) -> Tensor:
    """Return for each token the first token that names the same slot."""
    ordered, tokens = slots.sort(stable=True)
    return tokens[torch.searchsorted(ordered, slots)]
