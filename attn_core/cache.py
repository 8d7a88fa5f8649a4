"""The paged KV cache: slot ``s`` lies in block ``s // S`` at offset ``s % S``."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from attn_core.notices import report_dropped

OnInvalid = Literal["drop", "raise"]
ON_INVALID: tuple[str, ...] = get_args(OnInvalid)
# The slot of tokens that are not stored; engines pad with it.
PADDING_SLOT = -1


def store_kvcache(
    key: Float[Tensor, "N G D"],
    value: Float[Tensor, "N G D"],
    k_cache: Float[Tensor, "blocks S G D"],
    v_cache: Float[Tensor, "blocks S G D"],
    slot_mapping: Int[Tensor, "N"],
    on_invalid: OnInvalid = "drop",
) -> None:
    """Write token ``n`` to slot ``slot_mapping[n]``, cast to the cache's dtype (round to nearest even).

    Slot -1 is padding and is skipped. Any other slot outside the cache is skipped with one warning a call (``"drop"``),
    or raises ValueError before any write (``"raise"``). The last token of equal slots wins. No other byte of the cache
    changes.

    Under ``"drop"`` no step depends on a value, so the host never waits for the device. Instead of filtering, every
    token that must not write repeats the write of a token that must.

    Raises ValueError if the shapes do not fit together.
    """
    _check_shapes(key, value, k_cache, v_cache, slot_mapping)
    num_slots = k_cache.shape[0] * k_cache.shape[1]
    slots = slot_mapping.to(k_cache.device, torch.int64)
    valid = valid_slots(slots, num_slots)
    invalid = ((slots != PADDING_SLOT) & ~valid).sum()
    if on_invalid == "raise" and invalid:
        raise ValueError(f"slot_mapping: {int(invalid)} slots are neither -1 nor in [0, {num_slots})")
    report_dropped("slot_mapping", invalid, num_slots)
    if not slots.numel() or not num_slots:
        return

    # `anchor` is the first token that writes. If no token writes, `anchor` is token 0, and slot 0 gets what it holds.
    # `anchor` has one element instead of 0 dimensions, since indexing by a 0-dim tensor would wait for the device.
    anchor = valid.to(torch.uint8).argmax(dim=0, keepdim=True)
    writes, last = valid[anchor], last_writer(slots)
    writer = torch.where(valid, last, last[anchor])
    slot = torch.where(valid, slots, slots[anchor] * writes)
    block_idx, block_inner_idx = slot // k_cache.shape[1], slot % k_cache.shape[1]
    for new, cache in ((key, k_cache), (value, v_cache)):
        held = cache[block_idx, block_inner_idx]
        cache[block_idx, block_inner_idx] = torch.where(writes, new.detach()[writer].to(cache.dtype), held)


def valid_slots(slots: Int[Tensor, "..."], num_slots: int) -> Bool[Tensor, "..."]:
    """Return True where a slot lies in the cache; also for blocks, with the number of blocks as ``num_slots``.

    Negative indices are outside: Python would wrap them around to the end of the cache.
    """
    return (slots >= 0) & (slots < num_slots)


def last_writer(slots: Int[Tensor, "N"]) -> Int[Tensor, "N"]:
    """Return for each token the last token that names the same slot.

    Index assignment leaves open on CUDA which of equal indices wins, so this function decides it.
    """
    ordered, tokens = slots.sort(stable=True)
    return tokens[torch.searchsorted(ordered, slots, right=True) - 1]


def _check_shapes(
    key: Shaped[Tensor, "..."],
    value: Shaped[Tensor, "..."],
    k_cache: Shaped[Tensor, "..."],
    v_cache: Shaped[Tensor, "..."],
    slot_mapping: Shaped[Tensor, "..."],
) -> None:
    """Raise ValueError if the shapes do not fit together."""
    if key.dim() != 3:
        raise ValueError(f"key: shape {tuple(key.shape)} must be [N, G, D]")
    if value.shape != key.shape:
        raise ValueError(f"value: shape {tuple(value.shape)} must be key's, {tuple(key.shape)}")
    if k_cache.dim() != 4 or k_cache.shape != v_cache.shape or k_cache.shape[2:] != key.shape[1:]:
        shapes = f"{tuple(k_cache.shape)} and {tuple(v_cache.shape)}"
        raise ValueError(f"k_cache, v_cache: shapes {shapes} must both be [blocks, S, *{tuple(key.shape[1:])}]")
    if slot_mapping.shape != key.shape[:1]:
        raise ValueError(f"slot_mapping: shape {tuple(slot_mapping.shape)} must be [{key.shape[0]}], a slot a token")
