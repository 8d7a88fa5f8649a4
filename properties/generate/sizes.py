"""Sizes of a drawn problem, and the caps that keep it cheap: thousands of problems are tried in each cell."""

from __future__ import annotations

from dataclasses import dataclass

# Most elements of the largest array of a sequence: its scores [H, Lq, Lk], or its keys for all heads [H, Lk, D]. At
# 20,000 the slowest of 600 problems takes 0.08 s on a processor, and 5 % have more than 256 keys. At 320,000 the
# slowest takes 0.3 s, for 9 % with more than 256 keys; at 2,500 there are 2.5 %.
WORK = 20_000
# Most tokens of a sequence: two blocks of the largest size, 256, and a part of a third.
LONGEST = 600
# Most elements of a block: 256 tokens of a kv head of 64. Smaller blocks do not make a problem faster, and with four
# times larger ones problems took a fifth longer.
MAX_BLOCK = 256 * 64
# Most elements of each of `paging.MANY_BLOCKS` blocks; the second is for backends that have no head_dim as small as the
# first. With 256, all problems together took twice as long.
MAX_BLOCK_OF_MANY = (4, 16)


@dataclass(frozen=True)
class Sizes:
    """The sizes of a problem as they were drawn, with the caps on its blocks and lengths."""

    num_heads: int
    """Query heads, H."""
    num_kv_heads: int
    """Kv heads, G."""
    head_dim: int
    """Numbers of a head, D."""
    drawn_block_size: int
    """Tokens of a block, S, before the caps."""
    max_block_of_many: int
    """The most elements of a block in a cache of many blocks; 0 in a cache of few."""
    is_given: bool = False
    """True if a block has the drawn size however large it is."""

    @property
    def block_size(self) -> int:
        """Return the drawn block size, or 16 where a block would be too large; of many blocks 1."""
        limit, otherwise = (self.max_block_of_many, 1) if self.max_block_of_many else (MAX_BLOCK, 16)
        too_large = not self.is_given and self.drawn_block_size * self.num_kv_heads * self.head_dim > limit
        return otherwise if too_large else self.drawn_block_size

    def length(self, code: int | str, rows: int = 1) -> int:
        """Return the length that ``code``, an option of `options`, stands for, capped by its cost.

        It is a number of queries, or one of keys that ``rows`` queries see.
        """
        size = self.block_size
        named = {"S-1": size - 1, "S": size, "S+1": size + 1, "2S": 2 * size, "3S+2": 3 * size + 2}
        # Just past 256 keys, where kernels begin another tile; but no more than 100 blocks, which bounds the tables.
        named["long"] = min(260, 100 * size)
        longest = WORK // (self.num_heads * max(rows, self.head_dim))
        return min(named[code] if isinstance(code, str) else code, longest, LONGEST)
