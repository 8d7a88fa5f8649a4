"""The work of a decode as rows: every context is cut into parts that a device reads side by side.

A context is read in tiles; a tile is a block or a fraction of one. Tiles that are visible as a whole are listed for the
parts. The rest, less than a tile of each sequence, is the tail, which is computed apart: so hidden places are never
multiplied. Everything here is arithmetic on tensors of fixed shapes: nothing waits for a device, and a CUDA graph can
replay it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from attn_core.cache import valid_slots

# FlexAttention's kernels read at least so many tokens at a time.
TILE = 16


class Parts(NamedTuple):
    """Lists of tiles: part ``p`` of sequence ``b`` reads the first ``counts[b, p]`` of ``tiles[b, p]``."""

    counts: Int[Tensor, "B P"]
    tiles: Int[Tensor, "B P C"]


def tile_size(block_size: int) -> int:
    """Return the tokens of a tile: `TILE`, or a whole block if `TILE` does not divide it."""
    return block_size if block_size % TILE else TILE


def cut_into_parts(
    lengths: Int[Tensor, "B"],
    tables: Int[Tensor, "B M"],
    num_blocks: int,
    block_size: int,
    parts: int,
    least_tiles: int,
) -> Parts:
    """Return the tiles visible as a whole, in order, in at most ``parts`` parts of at least ``least_tiles`` each.

    All parts are as long as the longest context needs; the lists of shorter contexts end earlier.
    """
    tile = tile_size(block_size)
    per_block, num_columns = block_size // tile, tables.shape[1]
    in_cache = valid_slots(tables, num_blocks)
    # 32-bit integers hold every index from here on, and a device divides them faster.
    nth = torch.arange(per_block, dtype=torch.int32, device=tables.device)
    ids = tables.where(in_cache, 0).to(torch.int32)[:, :, None] * per_block + nth
    starts = torch.arange(num_columns, device=tables.device) * block_size
    seen = ((lengths[:, None] - starts) // tile).clamp(min=0, max=per_block).where(in_cache, 0).to(torch.int32)
    number = seen.sum(dim=1, dtype=torch.int32)

    # Move the visible tiles to the left, in order, and the others behind them.
    before, seen = (seen.cumsum(dim=1, dtype=torch.int32) - seen)[:, :, None], seen[:, :, None]
    place = torch.arange(num_columns * per_block, dtype=torch.int32, device=tables.device).view(-1, per_block)
    unseen = number[:, None, None] + place - before - seen.minimum(nth)
    ids, place = ids.flatten(1), (before + nth).where(nth < seen, unseen).flatten(1)
    listed = torch.empty_like(ids).scatter(1, place.to(torch.int64), ids)

    size = ((number.amax() + (parts - 1)) // parts).clamp(min=least_tiles)
    start = torch.arange(parts, dtype=torch.int32, device=tables.device) * size
    counts = (number[:, None] - start).clamp(min=0).minimum(size)
    width = max(least_tiles, -(-ids.shape[1] // parts))
    places = start[:, None] + torch.arange(width, dtype=torch.int32, device=tables.device)
    return Parts(counts, listed[:, places.clamp(max=ids.shape[1] - 1)])


def find_tail(
    lengths: Int[Tensor, "B"], tables: Int[Tensor, "B M"], num_blocks: int, block_size: int
) -> tuple[Bool[Tensor, "B t"], Int[Tensor, "B t"]]:
    """Return a mask of the visible positions behind each sequence's last whole tile, and slots (0 where hidden)."""
    tile = tile_size(block_size)
    positions = (lengths // tile * tile)[:, None] + torch.arange(tile, device=tables.device)
    column = positions // block_size
    blocks = tables.gather(1, column.clamp(max=tables.shape[1] - 1)).to(torch.int64)
    seen = (positions < lengths[:, None]) & (column < tables.shape[1]) & valid_slots(blocks, num_blocks)
    return seen, (blocks * block_size + positions % block_size).where(seen, 0)


def count_missing(
    lengths: Int[Tensor, "B"], tables: Int[Tensor, "B M"], num_blocks: int, block_size: int
) -> Int[Tensor, "B"]:
    """Return the number of positions of each context that are not in the cache."""
    starts = torch.arange(tables.shape[1], device=tables.device) * block_size
    read = (lengths[:, None] - starts).clamp(min=0, max=block_size)
    return lengths - read.where(valid_slots(tables, num_blocks), 0).sum(dim=1)
