"""The edges that generated problems must reach, by name: each says of a problem whether it lies on it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import get_args

from verification.problem import Problem, Special
from verification.problem.problem import CacheLayout, Layout, Poison, ScoreFill, ValueFill
from verification.problem.visibility import visible_counts
from verification.tensors.inputs import make_inputs

Edge = Callable[[Problem], bool]
HEAD_DIMS, BLOCK_SIZES = (1, 2, 3, 12, 16, 64, 80, 128), (1, 2, 3, 16, 256)
POISONED_KEYS: tuple[Poison, ...] = ("zero", "nan", "large", "negative")
AROUND_A_BLOCK: dict[str, Callable[[int], int]] = {
    "0": lambda _: 0,
    "1": lambda _: 1,
    "S-1": lambda s: s - 1,
    "S": lambda s: s,
    "S+1": lambda s: s + 1,
    "2S": lambda s: 2 * s,
}


def valid_slots(problem: Problem) -> list[int]:
    """Slots that the call writes to, with repetitions."""
    return [slot for slot in problem.slot_mapping if 0 <= slot < problem.num_slots]


def needed_blocks(problem: Problem) -> list[tuple[int, ...]]:
    """The entries of each table that its context needs."""
    lengths = [-(-length // problem.block_size) for length in problem.key_lens]
    return [table[:needed] for table, needed in zip(problem.block_tables, lengths, strict=True)]


def blocks_of(problem: Problem) -> list[list[int]]:
    """The blocks of the cache that each context needs, as they stand in its table."""
    return [[block for block in row if 0 <= block < problem.num_blocks] for row in needed_blocks(problem)]


def spare_blocks(problem: Problem) -> list[int]:
    """The entries of all tables that no context needs."""
    pairs = zip(problem.block_tables, needed_blocks(problem), strict=True)
    return [block for table, needed in pairs for block in table[len(needed) :]]


def is_shared(problem: Problem) -> bool:
    """Two sequences read one block of the cache."""
    rows = [{b for b in row if 0 <= b < problem.num_blocks} for row in needed_blocks(problem)]
    return any(rows[i] & rows[j] for i in range(len(rows)) for j in range(i))


def is_seen(problem: Problem, special: Special) -> bool:
    """Some query sees the row that this one is planted in."""
    if special.tensor == "q":
        return True
    if problem.phase == "decode":
        seen = {int(slot) for slots in make_inputs(problem).visible_slots for slot in slots}
        last_writer = {slot: token for token, slot in enumerate(problem.slot_mapping)}
        if special.tensor in ("k", "v"):
            slot = problem.slot_mapping[special.row]
            return slot in seen and last_writer[slot] == special.row
        return special.row in seen and special.row not in last_writer
    start = 0
    for lengths in zip(problem.query_lens, problem.key_lens, strict=True):
        counts = visible_counts(*lengths, problem.causal_alignment)
        if special.tensor in ("k", "v") and 0 <= special.row - start < counts.max(initial=0):
            return True
        start += lengths[1]
    return False


def _specials() -> dict[str, Edge]:
    return {
        f"{value} {'seen' if seen else 'not seen'}": lambda p, value=value, seen=seen: any(
            s.value == value and is_seen(p, s) is seen for s in p.specials
        )
        for value in ("nan", "inf", "-inf")
        for seen in (True, False)
    }


def _sizes() -> dict[str, Edge]:
    edges: dict[str, Edge] = {f"B = {b}": lambda p, b=b: p.num_sequences == b for b in range(4)}
    edges |= {f"H/G = {r}": lambda p, r=r: p.num_heads == r * p.num_kv_heads for r in (1, 2, 3, 5, 8)}
    edges["G = 1 < H"] = lambda p: p.num_kv_heads == 1 < p.num_heads
    edges["1 < n_rep != G > 1"] = lambda p: 1 < p.num_heads // p.num_kv_heads != p.num_kv_heads > 1
    edges |= {f"D = {d}": lambda p, d=d: p.head_dim == d for d in HEAD_DIMS}
    edges |= {f"S = {s}": lambda p, s=s: p.block_size == s for s in BLOCK_SIZES}
    edges |= {
        f"Lk = {name}": lambda p, f=f: p.block_size > 2 and f(p.block_size) in p.key_lens
        for name, f in AROUND_A_BLOCK.items()
    }
    edges["an empty sequence between others"] = lambda p: (
        p.num_sequences == 3 and p.key_lens[1] == 0 < min(p.key_lens[0], p.key_lens[2])
    )
    return edges


def _choices() -> dict[str, Edge]:
    edges: dict[str, Edge] = {f"layout {x}": lambda p, x=x: p.layout == x for x in get_args(Layout)}
    edges |= {f"cache {x}": lambda p, x=x: p.cache_layout == x and p.num_blocks > 0 for x in get_args(CacheLayout)}
    edges |= {f"score fill {x}": lambda p, x=x: p.score_fill == x and p.num_queries > 0 for x in get_args(ScoreFill)}
    edges |= {f"value fill {x}": lambda p, x=x: p.value_fill == x and p.num_queries > 0 for x in get_args(ValueFill)}
    edges |= {f"poison {x}": lambda p, x=x: p.poison[0] == x for x in POISONED_KEYS}
    edges["K and V poisoned apart"] = lambda p: p.poison[0] != p.poison[1]
    return edges | {x: lambda p, x=x: p.index_dtype == x for x in ("int32", "int64")}


SLOTS: dict[str, Edge] = {
    "slot -1 first": lambda p: p.slot_mapping[:1] == (-1,),
    "slot -1 in the middle": lambda p: -1 in p.slot_mapping[1:-1],
    "slot -1 last": lambda p: len(p.slot_mapping) > 1 and p.slot_mapping[-1] == -1,
    "slot < -1": lambda p: any(slot < -1 for slot in p.slot_mapping),
    "slot too large": lambda p: any(slot >= p.num_slots for slot in p.slot_mapping),
    "slot past 32 bits": lambda p: any(abs(slot) >= 2**32 for slot in p.slot_mapping),
    "slot twice": lambda p: len(set(valid_slots(p))) < len(valid_slots(p)),
}
PREFILL: dict[str, Edge] = {
    "Lq < Lk": lambda p: any(q < k for q, k in zip(p.query_lens, p.key_lens, strict=True)),
    "Lq = Lk > 1": lambda p: any(q == k > 1 for q, k in zip(p.query_lens, p.key_lens, strict=True)),
    "Lq > Lk": lambda p: any(q > k for q, k in zip(p.query_lens, p.key_lens, strict=True)),
    "1 = Lq < Lk": lambda p: any(q == 1 < k for q, k in zip(p.query_lens, p.key_lens, strict=True)),
    "0 = Lq < Lk": lambda p: any(q == 0 < k for q, k in zip(p.query_lens, p.key_lens, strict=True)),
    "top-left, Lq != Lk": lambda p: p.causal_alignment == "top_left" and p.query_lens != p.key_lens,
    "bottom-right, Lq != Lk": lambda p: p.causal_alignment == "bottom_right" and p.query_lens != p.key_lens,
    "no cache": lambda p: p.num_blocks == 0,
}
DECODE: dict[str, Edge] = {
    "block -1 needed": lambda p: any(-1 in row for row in needed_blocks(p)),
    "block < -1 needed": lambda p: any(b < -1 for row in needed_blocks(p) for b in row),
    "block too large needed": lambda p: any(b >= p.num_blocks for row in needed_blocks(p) for b in row),
    "bad block before a good one": lambda p: any(
        not 0 <= a < p.num_blocks and 0 <= b < p.num_blocks for row in needed_blocks(p) for a, b in pairwise(row)
    ),
    "hostile block not needed": lambda p: any(not 0 <= b < p.num_blocks for b in spare_blocks(p)),
    "table wider than any needs": lambda p: (
        all(map(len, needed_blocks(p))) and min(map(len, spare_rows(p)), default=0) > 0
    ),
    "table too short": lambda p: any(length > p.table_width * p.block_size for length in p.key_lens),
    "shared block": is_shared,
    "last block of the cache": lambda p: any(p.num_blocks - 1 in row for row in needed_blocks(p)),
    "block > 32767": lambda p: any(2**15 <= b < p.num_blocks for row in needed_blocks(p) for b in row),
    "blocks out of order": lambda p: any(row != sorted({*row}) for row in blocks_of(p)),
    "context % S = 0": lambda p: p.block_size > 1 and any(n and n % p.block_size == 0 for n in p.key_lens),
    "context % S != 0": lambda p: any(n % p.block_size for n in p.key_lens),
    "more than 256 keys": lambda p: max(p.key_lens, default=0) > 256,
}


def spare_rows(problem: Problem) -> list[tuple[int, ...]]:
    """What each table holds beyond what its context needs."""
    return [row[len(used) :] for row, used in zip(problem.block_tables, needed_blocks(problem), strict=True)]


COMMON = _sizes() | _choices() | SLOTS | _specials()
EDGES = {"prefill": COMMON | PREFILL, "decode": COMMON | DECODE}
