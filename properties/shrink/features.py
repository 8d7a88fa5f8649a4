"""Features of a problem that a bug may need, in words: what a cell goes on without once its law has broken.

They are finer than `verification.problem.labels` in lengths and sizes, and leave out what a plain problem has anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from verification.problem import Problem
from verification.problem.labels import FULL_NAMES, labels

# Labels of problems that have nothing unusual, and of numbers without which hardly any bug shows: to go on without them
# would be to go on blindly.
_USUAL = frozenset(
    {
        *("sequences: 1", "H/G: 1", "G: 1", "G: several", "cache: own dtype", "cache: none", "indices: int64"),
        *("keys: other", "slots: in the cache", "blocks: in the cache", "special: none", "special: not seen"),
        *("layout: contiguous", "cache layout: contiguous", "poison around k: zero", "poison around v: zero"),
        *(f"score fill: {fill}" for fill in ("ones", "normal", "zeros", "onehot", "integers")),
        *(f"value fill: {fill}" for fill in ("ones", "index", "normal", "zeros", "onehot", "integers")),
    }
)
# Features that a label says as well, but less exactly: S, 2S and the like depend on the block's size.
_ELSEWHERE = (
    "dtype",
    "size",
    "keys",
    "keys beside",
    "queries and keys",
    "sequences",
    "H/G",
    "head_dim",
    "block size",
    "call",
)
_LENGTHS = (1, 2, 3, 16, 64, 127, 256, 511, 1023)


@lru_cache(maxsize=4096)
def features(problem: Problem) -> frozenset[str]:
    """Return the features of a problem, to be read after "it needs"."""
    found = {FULL_NAMES[index] for index in labels(problem)} - _USUAL
    found = {name for name in found if name.split(": ")[0] not in _ELSEWHERE}
    return frozenset({*found, *_of_sizes(problem), *_of_lengths(problem), *_of_blocks(problem)})


def _of_sizes(problem: Problem) -> Iterator[str]:
    heads, groups, dim, size = problem.num_heads, problem.num_kv_heads, problem.head_dim, problem.block_size
    yield f"phase {problem.phase}"
    if not problem.reads_cache and problem.query_lens != problem.key_lens:
        yield f"alignment {problem.causal_alignment}"
    yield from (f"scoring: {name}" for name in problem.scoring.features)
    if heads > groups:
        yield "heads that share a kv head"
        yield f"{heads // groups} heads on a kv head"
    if groups > 1:
        yield "several kv heads"
    yield f"head_dim {dim}"
    yield from (f"a head_dim above {least}" for least in (1, 16, 64) if dim > least)
    if dim & (dim - 1):
        yield "a head_dim that is no power of two"
    if problem.num_blocks:
        yield f"blocks of {size}"
        yield from (f"blocks of more than {least}" for least in (1, 16) if size > least)
        if size & (size - 1):
            yield "blocks whose size is no power of two"


def _of_lengths(problem: Problem) -> Iterator[str]:
    batch = problem.num_sequences
    if batch != 1:
        yield "several sequences" if batch else "no sequences"
    yield from (f"more than {least} sequences" for least in (2, 7, 31, 127) if batch > least)
    if len(set(zip(problem.query_lens, problem.key_lens, strict=True))) > 1:
        yield "sequences of unequal lengths"
    for what, lengths in (("key", problem.key_lens), ("query", problem.query_lens)):
        if problem.phase == "decode" and what == "query":
            continue
        name = "keys" if what == "key" else "queries"
        for length in lengths:
            if length in (0, 1, 2):
                yield f"a sequence of {length} {what if length == 1 else name}"
            yield from (f"a sequence of more than {least} {name}" for least in _LENGTHS if length > least)
    for queries, keys in zip(problem.query_lens, problem.key_lens, strict=True):
        if problem.phase == "decode":
            continue
        if queries < keys:
            yield "keys before the first query"
        elif queries > keys:
            yield "more queries than keys"


def _of_blocks(problem: Problem) -> Iterator[str]:
    size = problem.block_size
    if not problem.reads_cache:
        return
    for row, length in zip(problem.block_tables, problem.key_lens, strict=True):
        width = -(-length // size)
        if width > 1:
            yield "a context of several blocks"
        if width > 2:
            yield "a context of more than 2 blocks"
        if length and length % size == 0:
            yield "a context that fills its last block"
        elif length:
            yield "a last block that is not full"
        needed = row[:width]
        if list(needed) != sorted(needed):
            yield "blocks out of order"
        if needed and needed[0] != 0:
            yield "a context that does not begin in block 0"
        if len(row) > width:
            yield "a table with columns to spare"
