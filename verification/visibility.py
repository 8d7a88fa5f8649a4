"""Who may see what, from the contract's own words. The reference and the poison both stand on this page."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def visible_counts(num_queries: int, num_keys: int, alignment: str) -> Ints:
    """``[Lq]``: query ``a`` sees the keys ``b <= a`` (top-left), ``b <= a + Lk - Lq`` (bottom-right) or all (none)."""
    if alignment == "none":
        return np.full(num_queries, num_keys)
    offset = num_keys - num_queries if alignment == "bottom_right" else 0
    return np.clip(np.arange(num_queries) + 1 + offset, 0, num_keys)


def seen_of_context(queries: int, context_len: int, block_table: NDArray[Any], block_size: int, blocks: int) -> Ints:
    """``[Lq]``: of the visible slots of a context, how many lie at or before each of its last positions, where its
    queries are.
    """
    ends = range(context_len - queries + 1, context_len + 1)
    return np.array([len(context_slots(end, block_table, block_size, blocks)) for end in ends], np.int64)


def context_slots(context_len: int, block_table: NDArray[Any], block_size: int, num_blocks: int) -> Ints:
    """Slots of the visible positions in order: position ``t`` is in block ``block_table[t // S]`` at ``t % S``.

    Positions beyond the table, and those whose block is not in the cache, are not visible.
    """
    table = block_table.astype(np.int64)
    position = np.arange(min(context_len, len(table) * block_size))
    block = table[position // block_size]
    slot: Ints = block * block_size + position % block_size
    return slot[(block >= 0) & (block < num_blocks)]
