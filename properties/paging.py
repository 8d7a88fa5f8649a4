"""Block tables and slots: shuffled, shared, maximal and hostile, built from a few drawn choices and a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.random import Generator

# Beyond what a 16-bit block id can hold.
MANY_BLOCKS = 2**15 + 3


@dataclass(frozen=True)
class Paging:
    """``num_blocks`` 0 where there is no cache."""

    num_blocks: int
    slot_mapping: tuple[int, ...]
    block_tables: tuple[tuple[int, ...], ...]


NO_CACHE = Paging(0, (), ())


def decode_paging(
    rng: Generator,
    contexts: Sequence[int],
    block_size: int,
    tables: str,
    bad_blocks: str,
    tail: int,
    bad_slots: str,
    index_dtype: str,
) -> Paging:
    """Tables that cover ``contexts``, ``tail`` hostile columns wider than needed, and each sequence's own last slot."""
    needed = [-(-length // block_size) for length in contexts]
    num_blocks = MANY_BLOCKS if tables == "many" else sum(needed) + 1 + int(rng.integers(3))
    rows = _rows(rng, needed, num_blocks, tables)
    hostile = _hostile_ids(num_blocks, index_dtype)
    if bad_blocks not in ("none", "short_table"):
        _plant(rng, rows, hostile[bad_blocks])
    slots = [_slot(row, length - 1, block_size, num_blocks) for row, length in zip(rows, contexts, strict=True)]
    width = max(needed, default=0) + tail
    anything = list(chain(*hostile.values()))
    padded = [row + [anything[i] for i in rng.integers(len(anything), size=width - len(row))] for row in rows]
    if bad_blocks == "short_table" and width > tail:
        padded = [row[: width - tail - 1] for row in padded]
    spoiled = spoil_slots(rng, slots, num_blocks * block_size, bad_slots, index_dtype)
    return Paging(num_blocks, spoiled, tuple(tuple(row) for row in padded))


def prefill_paging(rng: Generator, tokens: int, block_size: int, bad_slots: str, index_dtype: str) -> Paging:
    """A cache with room to spare, and a slot of its own for every token, in no order."""
    num_blocks = -(-tokens // block_size) + 1 + int(rng.integers(2))
    slots = rng.permutation(num_blocks * block_size)[:tokens].tolist()
    return Paging(num_blocks, spoil_slots(rng, slots, num_blocks * block_size, bad_slots, index_dtype), ())


def spoil_slots(rng: Generator, slots: list[int], num_slots: int, kind: str, index_dtype: str) -> tuple[int, ...]:
    """Replace some slots, at any position: by -1, by another negative, by a too large one, by a token's before it."""
    if kind == "none" or not slots:
        return tuple(slots)
    limits = np.iinfo(index_dtype)
    bad = {
        "padding": [-1],
        "negative": [-2, -num_slots, -num_slots - 1, int(limits.min)],
        "too_large": [num_slots, num_slots + 1, int(limits.max)],
        "duplicate": [slots[int(rng.integers(len(slots)))]],
    }
    choices = bad[kind] if kind != "all" else list(chain(*bad.values()))
    spoiled = list(slots)
    for position in np.flatnonzero(rng.random(len(slots)) < 0.4).tolist() or [int(rng.integers(len(slots)))]:
        spoiled[position] = choices[int(rng.integers(len(choices)))]
    return tuple(spoiled)


def _rows(rng: Generator, needed: list[int], num_blocks: int, tables: str) -> list[list[int]]:
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
            ids = rng.permutation(num_blocks)[:total].tolist()
    ends = np.cumsum(needed).tolist()
    rows = [ids[end - count : end] for end, count in zip(ends, needed, strict=True)]
    if tables == "shared" and len(rows) > 1:
        prefix = rows[0][: max(1, len(rows[0]) - 1)]
        rows[1:] = [prefix[: len(row)] + row[len(prefix) :] for row in rows[1:]]
    return rows


def _hostile_ids(num_blocks: int, index_dtype: str) -> dict[str, list[int]]:
    limits = np.iinfo(index_dtype)
    return {
        "padding": [-1],
        "negative": [-2, -num_blocks, int(limits.min)],
        "too_large": [num_blocks, num_blocks + 7, int(limits.max)],
    }


def _plant(rng: Generator, rows: list[list[int]], bad: list[int]) -> None:
    """Put a bad id into about a third of the entries, and at least one."""
    entries = [(row, column) for row, ids in enumerate(rows) for column in range(len(ids))]
    if entries:
        first = int(rng.integers(len(entries)))
        for i, (row, column) in enumerate(entries):
            if i == first or rng.random() < 0.3:
                rows[row][column] = bad[int(rng.integers(len(bad)))]


def _slot(row: list[int], position: int, block_size: int, num_blocks: int) -> int:
    """Where the token at ``position`` belongs; -1 where it belongs nowhere."""
    if position < 0 or not 0 <= row[position // block_size] < num_blocks:
        return -1
    return row[position // block_size] * block_size + position % block_size
