"""A context cut into parts: every whole tile once, in order; the rest is the tail; nothing else."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attn_core.tiles import TILE, count_missing, cut_into_parts, find_tail, tile_size


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[int], list[list[int]], int, int]:
    """Lengths, tables, blocks of the cache, block size."""
    block_size = draw(st.sampled_from([16, 48, 3, 1]))
    columns, sequences = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    lengths = [draw(st.integers(0, columns * block_size + 4)) for _ in range(sequences)]
    tables = [[draw(st.integers(-2, 8)) for _ in range(columns)] for _ in range(sequences)]
    return lengths, tables, 6, block_size


@settings(max_examples=300, deadline=None)
@given(batches(), st.integers(1, 5), st.integers(1, 3))
def test_every_visible_slot_is_read_once_in_order(
    batch: tuple[list[int], list[list[int]], int, int], parts: int, least: int
) -> None:
    """By a part or by the tail."""
    lengths, tables, num_blocks, size = batch
    given_tensors = torch.tensor(lengths), torch.tensor(tables)
    work = cut_into_parts(*given_tensors, num_blocks, size, parts, least)
    seen, slots = find_tail(*given_tensors, num_blocks, size)
    lost = count_missing(*given_tensors, num_blocks, size).tolist()
    tile = tile_size(size)
    assert work.counts.shape == (len(lengths), parts)
    for i, (length, table) in enumerate(zip(lengths, tables, strict=True)):
        places = [(table[t // size], t % size) for t in range(min(length, len(table) * size))]
        expected = [block * size + offset for block, offset in places if 0 <= block < num_blocks]
        read = [
            tile_id * tile + offset
            for count, ids in zip(work.counts[i].tolist(), work.tiles[i].tolist(), strict=True)
            for tile_id in ids[:count]
            for offset in range(tile)
        ]
        read += slots[i][seen[i]].tolist()
        assert read == expected
        assert lost[i] == length - len(expected)
        assert not slots[i][~seen[i]].any()


def test_tiles_divide_blocks() -> None:
    """Of 16 tokens where a block is a multiple of that, else of a whole block."""
    assert [tile_size(size) for size in (16, 64, 256, 1, 3, 100)] == [TILE, TILE, TILE, 1, 3, 100]


@pytest.mark.parametrize("length", [0, 100, 16 * 32])
def test_short_contexts_are_not_cut(length: int) -> None:
    """No part is smaller than what is worth it, but for the last."""
    table = torch.arange(32)[None]
    counts = cut_into_parts(torch.tensor([length]), table, 32, 16, parts=8, least_tiles=16).counts[0].tolist()
    assert counts == [min(16, length // 16), max(0, length // 16 - 16), 0, 0, 0, 0, 0, 0]
