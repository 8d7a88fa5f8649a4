"""Block tables and slots: shuffled, shared, maximal and hostile, built from a few drawn choices and a seed.

Each decision has a random stream of its own, so that a problem that shrinks in one respect keeps its others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from random import Random
from typing import TypeVar

# Beyond what a 16-bit block id can hold.
MANY_BLOCKS = 2**15 + 3
Item = TypeVar("Item")
_WRAPS = (-(2**32), 2**32)
_LIMITS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True)
class Paging:
    """``num_blocks`` 0 where there is no cache."""

    num_blocks: int
    slot_mapping: tuple[int, ...]
    block_tables: tuple[tuple[int, ...], ...]


NO_CACHE = Paging(0, (), ())


def decode_paging(
    seed: int,
    contexts: Sequence[int],
    block_size: int,
    tables: str,
    bad_blocks: str,
    tail: int,
    bad_slots: str,
    index_dtype: str,
    hostile_tails: bool = True,
    new: Sequence[int] = (),
) -> Paging:
    """Tables that cover ``contexts``, ``tail`` columns wider than needed, and for the ``new`` tokens of each sequence,
    one where nothing is said, its own last slots. Behind a context lies anything, or where tails are not hostile
    block 0.
    """
    needed = [-(-length // block_size) for length in contexts]
    num_blocks = MANY_BLOCKS if tables == "many" else sum(needed) + 1 + _stream(seed, "spare").randrange(3)
    rows = _rows(seed, needed, num_blocks, tables)
    hostile = _hostile_ids(num_blocks, index_dtype)
    if bad_blocks not in ("none", "short_table"):
        _plant(_stream(seed, "blocks"), rows, hostile[bad_blocks])
    slots = [
        _slot(row, position, block_size, num_blocks)
        for row, length, count in zip(rows, contexts, new or [1] * len(rows), strict=True)
        for position in range(length - count, length)
    ]
    width, tails = max(needed, default=0) + tail, _stream(seed, "tail")
    anything = list(chain(*hostile.values())) if hostile_tails else [0]
    padded = [(*row, *tails.choices(anything, k=width - len(row))) for row in rows]
    if bad_blocks == "short_table" and width > tail:
        padded = [row[: width - tail - 1] for row in padded]
    return Paging(num_blocks, spoil_slots(seed, slots, num_blocks * block_size, bad_slots, index_dtype), tuple(padded))


def prefill_paging(seed: int, tokens: int, block_size: int, bad_slots: str, index_dtype: str) -> Paging:
    """A cache with room to spare, and a slot of its own for every token, in no order."""
    num_blocks = -(-tokens // block_size) + 1 + _stream(seed, "spare").randrange(2)
    slots = _stream(seed, "slots").sample(range(num_blocks * block_size), tokens)
    return Paging(num_blocks, spoil_slots(seed, slots, num_blocks * block_size, bad_slots, index_dtype), ())


def spoil_slots(seed: int, slots: list[int], num_slots: int, kind: str, index_dtype: str) -> tuple[int, ...]:
    """Replace some slots, at any position: by -1, by another negative, by a too large one, by another token's."""
    if kind == "none" or not slots:
        return tuple(slots)
    rng = _stream(seed, "spoil")
    lowest, highest = _LIMITS[index_dtype]
    # Cut to 32 bits, the last ones are slots of the cache again.
    below, above = [
        ([end + wrap for end in (slots[0], slots[-1])] if index_dtype == "int64" else []) for wrap in _WRAPS
    ]
    bad = {
        "padding": [-1],
        "negative": [-2, -num_slots - rng.randrange(2), lowest, *below],
        "too_large": [num_slots + rng.randrange(2), highest, *above],
        "duplicate": [],
    }
    kinds = [kind] if kind != "all" else list(bad)
    spoiled = list(slots)
    for position in _some(rng, range(len(slots))):
        choices = bad[rng.choice(kinds)] or [spoiled[position - 1 - rng.randrange(max(1, len(slots) - 1))]]
        spoiled[position] = rng.choice(choices)
    return tuple(spoiled)


def _stream(seed: int, purpose: str) -> Random:
    return Random(f"{seed} {purpose}")


def _rows(seed: int, needed: list[int], num_blocks: int, tables: str) -> list[list[int]]:
    """Which blocks each sequence owns: no block twice, but for ``shared``."""
    total = sum(needed)
    match tables:
        case "identity":
            ids = list(range(total))
        case "reversed":
            ids = list(range(total - 1, -1, -1))
        case "maximal" | "many":
            ids = list(range(num_blocks - 1, num_blocks - 1 - total, -1))
        case _:
            ids = _stream(seed, "tables").sample(range(num_blocks), total)
    rows = [ids[end - count : end] for end, count in zip(accumulate(needed), needed, strict=True)]
    if tables == "shared" and len(rows) > 1:
        longest = max(rows, key=len)
        prefix = longest[: max(1, len(longest) - 1)]
        rows = [prefix[: len(row)] + row[len(prefix) :] for row in rows]
    return rows


def _hostile_ids(num_blocks: int, index_dtype: str) -> dict[str, list[int]]:
    lowest, highest = _LIMITS[index_dtype]
    return {
        "padding": [-1],
        "negative": [-2, -num_blocks, lowest],
        "too_large": [num_blocks, num_blocks + 7, highest],
    }


def _plant(rng: Random, rows: list[list[int]], bad: list[int]) -> None:
    """Put a bad id into about a third of the entries, and at least one."""
    entries = [(row, column) for row, ids in enumerate(rows) for column in range(len(ids))]
    for row, column in _some(rng, entries):
        rows[row][column] = rng.choice(bad)


def _some(rng: Random, items: Sequence[Item]) -> Sequence[Item]:
    """About a third of them, and either end more often than not; else the first, so that most seeds agree on what to
    do with few items.
    """
    ends = (0, len(items) - 1)
    return [item for i, item in enumerate(items) if rng.random() < (0.6 if i in ends else 0.3)] or items[:1]


def _slot(row: list[int], position: int, block_size: int, num_blocks: int) -> int:
    """Where the token at ``position`` belongs; -1 where it belongs nowhere."""
    if position < 0 or not 0 <= row[position // block_size] < num_blocks:
        return -1
    return row[position // block_size] * block_size + position % block_size
