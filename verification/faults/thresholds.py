"""Faults behind a threshold: from some size on, work is cut into tiles, parts or items, and not all of it is done.

Each threshold is one that kernels have, so a small problem is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attn_core import Attention
from verification.faults import split_decode
from verification.faults.planted import Original, swaps
from verification.faults.split_decode import SPLIT_DECODE

# Keys of a tile.
_TILE = 128
# Programs of a persistent kernel: an H100 has as many processors.
_GRID = 132
# Sequences of a batch and keys of its longest context, from which on a decode is split.
_BATCH, _KEYS = 8, 512
# Parts of a context, and the number of keys from which on it has them.
_PARTS, _WORTH_PARTS = 8, 128


@swaps(Attention, "_attend")
def tile_key_lost(
    original: Original, layer: Attention, q: Tensor, k: Tensor, v: Tensor, dtype: Any, hidden: Any = None, *name: str
) -> Tensor:
    """The tiles are (L - 1) / 128, rounded up, and at least one: the key behind a full tile is lost."""
    kept = len(k) - (len(k) > _TILE and len(k) % _TILE == 1)
    return original(layer, q, k[:kept], v[:kept], dtype, None if hidden is None else hidden[:, :kept], *name)


@swaps(Attention, "_decode_attn")
def grid_item_lost(original: Original, layer: Attention, q: Tensor, context_lens: Tensor, tables: Tensor) -> Tensor:
    """132 programs share B * H heads: where there are more heads than programs, nobody takes the last one."""
    output = original(layer, q, context_lens, tables)
    if output.shape[0] * output.shape[1] > _GRID:
        output[-1, -1] = 0
    return output


@swaps(Attention, "_decode_attn", "vllm-project/flash-attention#176")
def split_folds_batch(original: Original, layer: Attention, q: Tensor, context_lens: Tensor, tables: Tensor) -> Tensor:
    """From 8 sequences and a context of 512 keys on a decode is split, and the merge writes each row over the first."""
    output = original(layer, q, context_lens, tables)
    if len(q) < _BATCH or context_lens.max() < _KEYS:
        return output
    return torch.cat((output[-1:], torch.zeros_like(output[1:])))


@swaps(split_decode, "cut", "tile-ai/TileOPs#89", on=SPLIT_DECODE)
def split_remainder(original: Callable[[Tensor, int], tuple[Tensor, ...]], x: Tensor, count: int) -> tuple[Tensor, ...]:
    """From 128 keys on a context has 8 parts of L // 8 keys each: the remainder lies in none of them."""
    length = x.shape[1]
    return original(x, count) if length < _WORTH_PARTS else original(x[:, : length - length % _PARTS], _PARTS)
