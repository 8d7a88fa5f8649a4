"""Block tables and slots, made from a few drawn choices and a seed: shuffled, shared, maximal, hostile.

Each decision has a random stream of its own, so that a problem that shrinks in one respect stays the same in others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, chain
from random import Random
from typing import TypeVar

# More blocks than a 16-bit id can name, signed or not: three ids lie beyond.
MANY_BLOCKS = 2**16 + 3
Item = TypeVar("Item")
# Distances from a slot to others that are equal to it after a cut to 32 bits.
_WRAPS = (-(2**32), 2**32)
_LIMITS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


@dataclass(frozen=True)
class Paging:
    """The fields of a `Problem` that place its tokens in a cache."""

    num_blocks: int
    """Number of blocks; 0 where there is no cache."""
    slot_mapping: tuple[int, ...]
    block_tables: tuple[tuple[int, ...], ...]


NO_CACHE = Paging(0, (), ())


def page_contexts(
    seed: int,
    contexts: Sequence[int],
    block_size: int,
    tables: str,
    bad_blocks: str,
    tail: int,
    bad_slots: str,
    index_dtype: str,
    hostile_tails: bool = True,
    ordered: bool = False,
    new: Sequence[int] = (),
) -> Paging:
    """Return the paging of a call that reads its cache: a decode, or a chunked prefill with ``new`` tokens a sequence.

    Tables cover ``contexts`` and are ``tail`` columns wider than the longest needs; entries that no context needs hold
    any id, or block 0 where tails are not hostile. The ids of a context rise where they are ``ordered``. New tokens go
    to the last slots of their sequence's context.
    """
    needed = [-(-length // block_size) for length in contexts]
    num_blocks = MANY_BLOCKS if tables == "many" else sum(needed) + 1 + _stream(seed, "spare").randrange(3)
    rows = _choose_blocks(seed, needed, num_blocks, tables)
    rows = [sorted(row) for row in rows] if ordered else rows
    hostile = _list_hostile_ids(num_blocks, index_dtype)
    if bad_blocks not in ("none", "short_table"):
        _plant(_stream(seed, "blocks"), rows, hostile[bad_blocks])
    slots = [
        _find_slot(row, position, block_size, num_blocks)
        for row, length, count in zip(rows, contexts, new or [1] * len(rows), strict=True)
        for position in range(length - count, length)
    ]
    width, tails = max(needed, default=0) + tail, _stream(seed, "tail")
    anything = list(chain(*hostile.values())) if hostile_tails else [0]
    padded = [(*row, *tails.choices(anything, k=width - len(row))) for row in rows]
    if bad_blocks == "short_table" and width > tail:
        padded = [row[: width - tail - 1] for row in padded]
    return Paging(num_blocks, spoil_slots(seed, slots, num_blocks * block_size, bad_slots, index_dtype), tuple(padded))


def forget_behind(
    seed: int,
    paging: Paging,
    queries: Sequence[int],
    contexts: Sequence[int],
    window: int,
    block_size: int,
    index_dtype: str,
    hostile: bool = True,
) -> Paging:
    """Return the paging with other ids in those columns that lie wholly behind the window of all of a sequence's
    queries, three times in four: an engine may have freed these pages, and have given them to others.

    The ids are blocks that the sequence does not read; and, where they may be hostile, ids outside the cache, and
    blocks that it reads elsewhere.
    """
    rng = _stream(seed, "behind")
    if not rng.randrange(4):
        return paging
    outside = list(chain(*_list_hostile_ids(paging.num_blocks, index_dtype).values()))
    rows = []
    for row, new, length in zip(paging.block_tables, queries, contexts, strict=True):
        count = min(len(row), max(0, length - new - window + 1) // block_size if new else 0)
        read = set(row[count : -(-length // block_size)])
        other = [block for block in range(min(paging.num_blocks, len(read) + 8)) if block not in read]
        kinds = [other or [0], *([outside, sorted(read) or outside] if hostile else [])]
        rows.append((*(rng.choice(rng.choice(kinds)) for _ in range(count)), *row[count:]))
    return replace(paging, block_tables=tuple(rows))


def page_prefill(seed: int, tokens: int, block_size: int, bad_slots: str, index_dtype: str) -> Paging:
    """Return the paging of a call that only writes: a slot of its own for each token, in no order, and spare blocks."""
    num_blocks = -(-tokens // block_size) + 1 + _stream(seed, "spare").randrange(2)
    slots = _stream(seed, "slots").sample(range(num_blocks * block_size), tokens)
    return Paging(num_blocks, spoil_slots(seed, slots, num_blocks * block_size, bad_slots, index_dtype), ())


def spoil_slots(seed: int, slots: list[int], num_slots: int, kind: str, index_dtype: str) -> tuple[int, ...]:
    """Return slots of which some are spoilt: -1, another negative number, too large, or another token's slot.

    ``kind`` is an option of `options.BAD_SLOTS`; "all" mixes the kinds.
    """
    if kind == "none" or not slots:
        return tuple(slots)
    rng = _stream(seed, "spoil")
    lowest, highest = _LIMITS[index_dtype]
    # Cut to 32 bits, the numbers of `below` and `above` are slots of the cache again.
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
    for position in _choose_some(rng, range(len(slots))):
        choices = bad[rng.choice(kinds)] or [spoiled[position - 1 - rng.randrange(max(1, len(slots) - 1))]]
        spoiled[position] = rng.choice(choices)
    return tuple(spoiled)


def _stream(seed: int, purpose: str) -> Random:
    """Return the random stream of one decision."""
    return Random(f"{seed} {purpose}")


def _choose_blocks(seed: int, needed: list[int], num_blocks: int, tables: str) -> list[list[int]]:
    """Return the blocks of each sequence, ``needed`` many. No block stands twice, unless ``tables`` is "shared"."""
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


def _list_hostile_ids(num_blocks: int, index_dtype: str) -> dict[str, list[int]]:
    """Return bad block ids by kind: right beside the good ones, some blocks away, and the extremes of the dtype."""
    lowest, highest = _LIMITS[index_dtype]
    return {
        "padding": [-1],
        "negative": [-2, -num_blocks, lowest],
        "too_large": [num_blocks, num_blocks + 7, highest],
    }


def _plant(rng: Random, rows: list[list[int]], bad: list[int]) -> None:
    """Put bad ids into some entries of ``rows``, at least one."""
    entries = [(row, column) for row, ids in enumerate(rows) for column in range(len(ids))]
    for row, column in _choose_some(rng, entries):
        rows[row][column] = rng.choice(bad)


def _choose_some(rng: Random, items: Sequence[Item]) -> Sequence[Item]:
    """Return some of the items: each with a probability of 30 %, the first and the last with 60 %; never none of them.

    The ends are edges of their own, so they must come up in few draws. Where chance takes no item, the first is
    returned: so most seeds agree on what to do with few items, and a problem stays as it is when its seed shrinks.
    """
    ends = (0, len(items) - 1)
    return [item for i, item in enumerate(items) if rng.random() < (0.6 if i in ends else 0.3)] or items[:1]


def _find_slot(row: list[int], position: int, block_size: int, num_blocks: int) -> int:
    """Return the slot of the token at ``position``, or -1 if its position is negative or its block is bad."""
    if position < 0 or not 0 <= row[position // block_size] < num_blocks:
        return -1
    return row[position // block_size] * block_size + position % block_size
