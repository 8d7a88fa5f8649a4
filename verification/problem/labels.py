"""Labels of the features that a problem tries, and the pairs of labels that no problem can have, with the reason."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import get_args

import numpy as np

from verification.problem import Problem, Special
from verification.problem.formats import DTYPES
from verification.problem.large import LARGE, large_labels
from verification.problem.problem import CacheLayout, Layout, Poison, ScoreFill, ValueFill
from verification.problem.visibility import count_behind_window

# A problem may have several labels of one feature, since its sequences differ, and it may have none: a problem without
# a cache has no label of slots, cache layout or blocks, and one without a query and a key has none of the fills. Of
# "queries and keys" a chunk has "no queries" alone, where a sequence has no new tokens.
FEATURES: dict[str, tuple[str, ...]] = {
    "dtype": DTYPES,
    "call": ("prefill top-left", "prefill bottom-right", "decode"),
    "sequences": ("0", "1", "2", "3", "no keys between others"),
    "queries and keys": ("Lq = Lk", "1 < Lq < Lk", "1 = Lq < Lk", "Lq > Lk", "no keys", "no queries"),
    "H/G": ("1", "2", "3", "5", "8"),
    "G": ("1", "several"),
    "head_dim": ("1", "2", "3", "12", "16", "64", "80", "128"),
    "block size": ("1", "2", "3", "16", "256"),
    "keys": ("0", "S-1", "S", "S+1", "2S", "other", "> 256"),
    "slots": ("in the cache", "-1", "< -1", "too large", "past 32 bits", "twice"),
    "blocks": (
        *("in the cache", "-1", "< -1", "too large", "> 32767", "table too short", "shared", "bad and not needed"),
        "out of order",
    ),
    "cache": ("none", "own dtype", "float16", "bfloat16"),
    "layout": get_args(Layout),
    "cache layout": get_args(CacheLayout),
    "poison around k": get_args(Poison),
    "poison around v": ("zero", "nan", "large"),
    "score fill": get_args(ScoreFill),
    "value fill": get_args(ValueFill),
    "special": ("none", "nan seen", "inf seen", "-inf seen", "not seen"),
    "indices": ("int32", "int64"),
    "large": LARGE,
}
LABELS = tuple((feature, label) for feature, labels in FEATURES.items() for label in labels)
# Pairs of labels of large problems are not counted: in a run of minutes most would come up once or never.
FEW = "large problems are few, and counted alone"
# Pairs of labels that no problem can have that is generated for a backend without limits of its own, and the reason. A
# side is a feature, which stands for all of its labels, or a feature followed by some of its labels.
Side = tuple[str, ...]
RULES: tuple[tuple[str, Side, Side], ...] = (
    ("a decode has one query a sequence", ("call", "decode"), ("queries and keys",)),
    ("a prefill reads no block table", ("call", "prefill top-left", "prefill bottom-right"), ("blocks",)),
    ("a prefill reads no block table", ("queries and keys",), ("blocks",)),
    ("a decode has a cache", ("call", "decode"), ("cache", "none")),
    ("a decode has a cache", ("blocks",), ("cache", "none")),
    *(("no cache", ("cache", "none"), (feature,)) for feature in ("slots", "cache layout", "block size")),
    ("no cache, no blocks", ("cache", "none"), ("keys", "S-1", "S", "S+1", "2S", "other")),
    *(
        ("no sequences", ("sequences", "0"), (feature,))
        for feature in ("queries and keys", "keys", "slots", "blocks", "score fill", "value fill")
    ),
    ("no sequences", ("sequences", "0"), ("special", "nan seen", "inf seen", "-inf seen")),
    ("sharing takes two", ("sequences", "1"), ("blocks", "shared")),
    ("S - 1 is 0", ("block size", "1"), ("keys", "S-1")),
    ("of so many, blocks are tiny", ("block size", "16", "256"), ("blocks", "> 32767")),
    ("they have 32 bits", ("indices", "int32"), ("slots", "past 32 bits")),
    ("float32 alone is narrowed", ("dtype", "float16", "bfloat16", "float64"), ("cache", "float16", "bfloat16")),
    ("how a NaN is narrowed is nobody's promise", ("cache", "float16", "bfloat16"), ("poison around k", "nan")),
    ("how a NaN is narrowed is nobody's promise", ("cache", "float16", "bfloat16"), ("poison around v", "nan")),
    ("not among the poisons", ("poison around k", "nan"), ("poison around v", "large")),
    ("not among the poisons", ("poison around k", "large"), ("poison around v", "nan")),
    ("not among the poisons", ("poison around k", "negative"), ("poison around v", "zero", "nan")),
    *((FEW, ("large",), (feature,)) for feature in FEATURES if feature != "large"),
)
# The features whose labels are counted in pairs.
PAIRED = {feature: labels for feature, labels in FEATURES.items() if feature != "large"}
# The full name of each label, as "call: decode", and its index into `LABELS`: by its full name, and by feature and
# label.
FULL_NAMES = tuple(": ".join(label) for label in LABELS)
NAMES = {name: index for index, name in enumerate(FULL_NAMES)}
INDEX = {feature: {label: NAMES[f"{feature}: {label}"] for label in labels} for feature, labels in FEATURES.items()}


def current_name(label: str) -> str:
    """Return the current name of a label that comes from a file of version 1, or from a contract written for one."""
    for old, new in (("scores: ", "score fill: "), ("values: ", "value fill: ")):
        if label.startswith(old):
            return new + label.removeprefix(old)
    return label


def labels(problem: Problem) -> list[int]:
    """Return the indices into `LABELS` of all that ``problem`` has. A call with a misuse has those of the valid call
    that it is made of.
    """
    num_kv_heads = problem.num_kv_heads
    alignment = "prefill top-left" if problem.causal_alignment == "top_left" else "prefill bottom-right"
    found: dict[str, set[str]] = {
        "dtype": {problem.dtype},
        "call": {problem.phase if problem.reads_cache else alignment if problem.causal_alignment != "none" else "full"},
        "sequences": {str(len(problem.key_lens))},
        "H/G": {str(problem.num_heads // num_kv_heads)},
        "G": {"1" if num_kv_heads == 1 else "several"},
        "head_dim": {str(problem.head_dim)},
        "keys": _key_labels(problem),
        "cache": {(problem.cache_dtype or "own dtype") if problem.num_blocks else "none"},
        "layout": {problem.layout},
        "poison around k": {problem.poison[0]},
        "poison around v": {problem.poison[1]},
        "special": {"none"},
        "indices": {problem.index_dtype},
        "large": large_labels(problem),
    }
    if len(problem.key_lens) == 3 and problem.key_lens[1] == 0 < min(problem.key_lens[0], problem.key_lens[2]):
        found["sequences"].add("no keys between others")
    if problem.num_blocks:
        found["block size"] = {str(problem.block_size)}
        found["cache layout"] = {problem.cache_layout}
        found["slots"] = _slot_labels(problem)
    if problem.num_queries and any(problem.key_lens):
        found["score fill"], found["value fill"] = {problem.score_fill}, {problem.value_fill}
    if problem.reads_cache:
        found["blocks"] = _block_labels(problem)
        found["queries and keys"] = {"no queries"} if 0 in problem.query_lens else set()
    else:
        found["queries and keys"] = _length_labels(problem)
    if problem.specials:
        found["special"] = {f"{s.value} seen" if _is_seen(problem, s) else "not seen" for s in problem.specials}
    # A value that is never drawn for a backend without limits of its own has no label.
    return [index for name, held in found.items() for label in held if (index := INDEX[name].get(label)) is not None]


def _length_labels(problem: Problem) -> set[str]:
    found = set()
    for queries, keys in zip(problem.query_lens, problem.key_lens, strict=True):
        if not queries or not keys:
            found |= {label for label, length in (("no queries", queries), ("no keys", keys)) if not length}
        elif queries < keys:
            found.add("1 = Lq < Lk" if queries == 1 else "1 < Lq < Lk")
        else:
            found.add("Lq = Lk" if queries == keys else "Lq > Lk")
    return found


def _key_labels(problem: Problem) -> set[str]:
    found = set()
    size = problem.block_size
    edges = {"S-1": size - 1, "S": size, "S+1": size + 1, "2S": 2 * size}
    for length in problem.key_lens:
        if length > 256:
            found.add("> 256")
        if not length:
            found.add("0")
        elif problem.num_blocks:
            found |= {label for label, edge in edges.items() if length == edge} or {"other"}
    return found


def _slot_labels(problem: Problem) -> set[str]:
    found, written = set(), set()
    end = problem.num_blocks * problem.block_size
    for slot in problem.slot_mapping:
        if 0 <= slot < end:
            found.add("twice" if slot in written else "in the cache")
            written.add(slot)
        else:
            found.add("too large" if slot >= end else "-1" if slot == -1 else "< -1")
            if abs(slot) >= 2**32:
                found.add("past 32 bits")
    return found


def _block_labels(problem: Problem) -> set[str]:
    """Return the labels of the entries that contexts need: "in the cache" where all entries of some context are, and
    "out of order" where the ids of some context do not rise.

    Entries wholly behind a window are not needed, but have their place in the order; `labels_behind` has their label.
    """
    found: set[str] = set()
    end, size = problem.num_blocks, problem.block_size
    read: set[int] = set()
    for row, queries, length in zip(problem.block_tables, problem.query_lens, problem.key_lens, strict=True):
        first, width = count_behind_window(problem, queries, length) // size, -(-length // size)
        needed = set(row[first:width])
        good = {block for block in needed if 0 <= block < end}
        if any(one >= other for one, other in pairwise(block for block in row[:width] if 0 <= block < end)):
            found.add("out of order")
        if len(row) < width:
            found.add("table too short")
        elif width and len(good) == len(needed):
            found.add("in the cache")
        for block in needed - good:
            found.add("too large" if block >= end else "-1" if block == -1 else "< -1")
        if max(good, default=0) >= 2**15:
            found.add("> 32767")
        if good & read:
            found.add("shared")
        if any(not 0 <= block < end for block in row[width:]):
            found.add("bad and not needed")
        read |= good
    return found


def _is_seen(problem: Problem, special: Special) -> bool:
    """Return True if some query sees the row that the special number is planted in."""
    row, tensor = special.row, special.tensor
    if tensor == "q":
        return True
    if problem.reads_cache:
        slot = row if tensor.endswith("cache") else problem.slot_mapping[row]
        writers = [token for token, other in enumerate(problem.slot_mapping) if other == slot]
        holds = not writers if tensor.endswith("cache") else writers[-1] == row
        block, offset = divmod(slot, problem.block_size)
        return (
            holds
            and 0 <= block < problem.num_blocks
            and any(
                block in _columns_that_show(offset, problem, queries, length, table)
                for table, length, queries in zip(
                    problem.block_tables, problem.key_lens, problem.query_lens, strict=True
                )
                if queries
            )
        )
    for queries, keys in zip(problem.query_lens, problem.key_lens, strict=True):
        if tensor in ("k", "v") and 0 <= row < keys:
            end = min(queries, keys) if problem.causal_alignment == "top_left" else keys * (queries > 0)
            return count_behind_window(problem, queries, keys) <= row < end
        row -= keys
    return False


def _columns_that_show(
    offset: int, problem: Problem, queries: int, length: int, table: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the blocks of a table of which some query sees the token at this offset."""
    size, behind = problem.block_size, count_behind_window(problem, queries, length)
    first, end = (max(0, -(-(place - offset) // size)) for place in (behind, length))
    return table[first:end]


def impossible(a: int, b: int) -> str:
    """Return the reason why no generated problem has both labels; empty where one may."""
    return _REASONS.get((a, b), "")


def _expand(side: Side) -> list[int]:
    feature, *some = side
    return [INDEX[feature][label] for label in some or FEATURES[feature]]


_REASONS = {
    pair: reason
    for reason, one, other in RULES
    for a in _expand(one)
    for b in _expand(other)
    for pair in ((a, b), (b, a))
}
# Pairs of indices of labels of two features that some problem can have.
POSSIBLE = np.array(
    [(a, b) for a, b in combinations(range(len(LABELS)), 2) if LABELS[a][0] != LABELS[b][0] and not impossible(a, b)]
)
