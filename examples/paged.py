"""The blocks of a paged cache and their owners: the least that an engine needs around `attn_core`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from attn_core import Attention, Context


class Pages:
    """Blocks for ``batch`` sequences, handed out as they grow.

    Blocks are handed out in no order, so that neighbours in a sequence are seldom neighbours in the cache. ``lengths``
    has the number of tokens of each sequence that have a slot.
    """

    def __init__(self, batch: int, num_blocks: int, block_size: int, seed: int = 0) -> None:
        self.num_blocks, self.block_size = num_blocks, block_size
        self.free: list[int] = torch.randperm(num_blocks, generator=torch.Generator().manual_seed(seed)).tolist()
        self.tables: list[list[int]] = [[] for _ in range(batch)]
        self.lengths = [0] * batch

    def prefill(self, lengths: Sequence[int]) -> Context:
        """Return the context of a step that reads whole prompts, laid end to end."""
        starts = torch.tensor([0, *accumulate(lengths)])
        return Context(True, starts, starts, max(lengths), max(lengths), slot_mapping=self._grow(lengths))

    def decode(self) -> Context:
        """Return the context of a step that reads one token of each sequence."""
        slots = self._grow([1] * len(self.lengths))
        width = max(map(len, self.tables))
        tables = torch.tensor([table + [-1] * (width - len(table)) for table in self.tables])
        return Context(slot_mapping=slots, context_lens=torch.tensor(self.lengths), block_tables=tables)

    def cache(self, layer: Attention, dtype: torch.dtype) -> Tensor:
        """Return room for one layer's keys, or for its values.

        The room is full of NaN, so that whoever reads what was not written shows it.
        """
        shape = (self.num_blocks, self.block_size, layer.num_kv_heads, layer.head_dim)
        return torch.full(shape, torch.nan, dtype=dtype)

    def _grow(self, counts: Sequence[int]) -> Tensor:
        """Return slots for ``counts[i]`` more tokens of each sequence ``i``, sequence after sequence."""
        slots = []
        for i, (table, count) in enumerate(zip(self.tables, counts, strict=True)):
            for position in range(self.lengths[i], self.lengths[i] + count):
                if position == len(table) * self.block_size:
                    table.append(self.free.pop())
                slots.append(table[-1] * self.block_size + position % self.block_size)
            self.lengths[i] += count
        return torch.tensor(slots)
