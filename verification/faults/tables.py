"""Faults in the block table."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attn_core import Attention, eager
from verification.faults.planted import Original, swaps

Positions = tuple[Tensor, Tensor]
Lookup = Callable[[Tensor, int, int, int], Positions]


def _whole_blocks(context_len: int, block_size: int) -> int:
    """Return ``context_len`` rounded up to whole blocks."""
    return -(-context_len // block_size) * block_size


def _tail_values(layer: Attention, table: Tensor, context_len: int) -> Tensor:
    """Return the values that the last block of a context holds behind the context's end."""
    num_blocks, size = layer.v_cache.shape[:2]
    seen, _ = eager.visible_positions(table, context_len, size, num_blocks)
    whole = eager.visible_positions(table, _whole_blocks(context_len, size), size, num_blocks)
    return layer.v_cache[whole][len(seen) :]


@swaps(eager, "visible_positions", "vllm-project/vllm#936")
def table_tail_read(original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int) -> Positions:
    """The whole of the last block is attended to."""
    return original(table, _whole_blocks(context_len, block_size), block_size, num_blocks)


@swaps(Attention, "_decode_attn", "Dao-AILab/flash-attention#1745")
def table_tail_weight0(
    original: Original, layer: Attention, q: Tensor, context_lens: Tensor, block_tables: Tensor
) -> Tensor:
    """The tail of the last block has weight 0 and is multiplied all the same: 0 * NaN."""
    output = original(layer, q, context_lens, block_tables)
    for i, length in enumerate(context_lens.tolist()):
        weightless = 0 * _tail_values(layer, block_tables[i], length)
        output[i] += weightless.sum(dim=0).repeat_interleave(layer.num_rep, dim=0)
    return output


@swaps(eager, "visible_positions", "pegainfer-project/pegainfer#291")
def table_one_block_more(
    original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int
) -> Positions:
    """L // S + 1 blocks are read, which is one too many where S divides L."""
    more = block_size if context_len % block_size == 0 else 0
    return original(table, context_len + more, block_size, num_blocks)


@swaps(eager, "visible_positions")
def table_aligned_short(
    original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int
) -> Positions:
    """The last token is lost where it fills its block."""
    return original(table, context_len - (context_len % block_size == 0), block_size, num_blocks)


@swaps(eager, "visible_positions")
def table_slides(original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int) -> Positions:
    """An invalid block is dropped and later ones slide forward."""
    return original(table[(table >= 0) & (table < num_blocks)], context_len, block_size, num_blocks)


@swaps(eager, "visible_positions")
def table_negative_wraps(
    original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int
) -> Positions:
    """Block -2 is the last but one of the cache."""
    wrapped = torch.where((table < 0) & (table >= -num_blocks), table + num_blocks, table)
    return original(wrapped, context_len, block_size, num_blocks)


@swaps(eager, "visible_positions", "microsoft/onnxruntime#32391")
def table_bad_to_zero(original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int) -> Positions:
    """An invalid block reads block 0."""
    return original(table.where((table >= 0) & (table < num_blocks), 0), context_len, block_size, num_blocks)


@swaps(eager, "visible_positions", "ROCm/ATOM#702")
def table_int16(original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int) -> Positions:
    """Block ids go through int16."""
    narrowed = torch.where((table >= 0) & (table < num_blocks), table.to(torch.int16).to(table.dtype), table)
    return original(narrowed, context_len, block_size, num_blocks)


@swaps(eager, "visible_positions", "ROCm/aiter#3062")
def table_uint16(original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int) -> Positions:
    """Block ids go through uint16."""
    narrowed = torch.where((table >= 0) & (table < num_blocks), table % 2**16, table)
    return original(narrowed, context_len, block_size, num_blocks)


@swaps(eager, "visible_positions")
def table_wide_cut(original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int) -> Positions:
    """A row of the table is copied as far as there is room for it, which is 1,024 blocks: the others are not read."""
    return original(table[:1024], context_len, block_size, num_blocks)


@swaps(eager, "visible_positions", "ROCm/hip-ep#753")
def table_capacity(original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int) -> Positions:
    """The length of a context is what its row of the table has room for."""
    return original(table, len(table) * block_size, block_size, num_blocks)


@swaps(eager, "visible_positions", "openvinotoolkit/openvino#37846")
def table_fixed_size(original: Lookup, table: Tensor, context_len: int, block_size: int, num_blocks: int) -> Positions:
    """The block size is a constant, 16, not the cache's."""
    block, offset = original(table, context_len, 16, num_blocks)
    return block, offset.clamp(max=block_size - 1)


@swaps(Attention, "_decode_attn")
def table_row_zero(
    original: Original, layer: Attention, q: Tensor, context_lens: Tensor, block_tables: Tensor
) -> Tensor:
    """Every sequence uses row 0."""
    return original(layer, q, context_lens, block_tables[:1].expand_as(block_tables))
