"""Visibility: which keys a query sees, by the contract's own words. The reference and the poison both stand on it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.problem.problem import Problem
from verification.problem.scoring import positions

Ints = NDArray[np.int64]


def visible_counts(num_queries: int, num_keys: int, alignment: str) -> Ints:
    """Return ``[Lq]``, how many keys each query sees.

    Query ``a`` sees the keys ``b <= a`` (top-left), ``b <= a + Lk - Lq`` (bottom-right) or all (none).
    """
    if alignment == "none":
        return np.full(num_queries, num_keys)
    offset = num_keys - num_queries if alignment == "bottom_right" else 0
    return np.clip(np.arange(num_queries) + 1 + offset, 0, num_keys)


def visible_keys(problem: Problem, sequence: int) -> list[range]:
    """Return for each query of a sequence of a prefill the keys that it sees, by causality and window alone."""
    queries, keys, window = problem.query_lens[sequence], problem.key_lens[sequence], problem.scoring.window
    ends = visible_counts(queries, keys, problem.causal_alignment).tolist()
    if not window:
        return [range(end) for end in ends]
    first: Ints = np.clip(positions(queries, keys, problem.causal_alignment) - window + 1, 0, keys)
    return [range(start, end) for start, end in zip(first.tolist(), ends, strict=True)]


def counts_in_context(queries: int, context_len: int, block_table: NDArray[Any], block_size: int, blocks: int) -> Ints:
    """Return ``[Lq]``, how many keys in the cache each query sees: the visible slots up to its own position.

    The queries are at the last positions of the context.
    """
    ends = np.arange(context_len - queries, context_len) + 1
    counts: Ints = np.searchsorted(context_positions(context_len, block_table, block_size, blocks), ends)
    return counts


def context_slots(context_len: int, block_table: NDArray[Any], block_size: int, num_blocks: int) -> Ints:
    """Return the slots of the visible positions, in order.

    Position ``t`` is in block ``block_table[t // S]`` at ``t % S``.
    Positions beyond the table, and those whose block is not in the cache, are not visible.
    """
    position = context_positions(context_len, block_table, block_size, num_blocks)
    block: Ints = block_table.astype(np.int64)[position // block_size]
    return block * block_size + position % block_size


def context_positions(context_len: int, block_table: NDArray[Any], block_size: int, num_blocks: int) -> Ints:
    """Return the visible positions of a context, ascending; `context_slots` says which are."""
    position = np.arange(min(context_len, len(block_table) * block_size))
    block = block_table.astype(np.int64)[position // block_size]
    return position[(block >= 0) & (block < num_blocks)]


def counts_in_window(window: int, place: Ints, keys: Ints, counts: Ints) -> Ints:
    """Return ``[Lq]``, how many of the first ``counts`` keys lie in the last ``window`` positions up to a query's own.

    ``place`` holds the positions of the queries, ``keys`` the ascending positions of the keys.
    """
    left: Ints = np.maximum(counts - np.searchsorted(keys, place - window, side="right"), 0)
    return left


def count_behind_window(problem: Problem, queries: int, keys: int) -> int:
    """Return how many of a sequence's first keys lie behind the window of all its queries: none of these sees them.

    Returns 0 where there is no window, and where there is no query.
    """
    window = problem.scoring.window
    if not window or not queries:
        return 0
    at_start = problem.causal_alignment == "top_left" and not problem.reads_cache
    first_query = 0 if at_start else keys - queries
    return min(keys, max(0, first_query - window + 1))


def slots_in_window(problem: Problem, queries: int, context_len: int, block_table: NDArray[Any]) -> Ints:
    """Return the slots that the queries of a sequence attend to, in order: those of its context, without what lies
    behind the window of all of them. They are none where it has no query.
    """
    where = block_table, problem.block_size, problem.num_blocks
    slots = context_slots(context_len if queries else 0, *where)
    behind = count_behind_window(problem, queries, context_len)
    return slots[len(context_slots(behind, *where)) :] if behind else slots


def has_blind_rows(problem: Problem) -> bool:
    """Return True if some query sees no key. A sink is no key: it makes no row see something."""
    if problem.scoring.blind_rows:
        return True
    return any((_counts_of(problem, i) == 0).any() for i in range(problem.num_sequences))


def _counts_of(problem: Problem, i: int) -> NDArray[np.int64]:
    """Return ``[Lq]``, how many keys each query of sequence ``i`` sees, by causality, window and block table."""
    queries, keys, window = problem.query_lens[i], problem.key_lens[i], problem.scoring.window
    if problem.reads_cache:
        where = np.array(problem.block_tables[i], np.int64), problem.block_size, problem.num_blocks
        counts = counts_in_context(queries, keys, *where)
        place, at = keys - queries + np.arange(queries), context_positions(keys, *where) if window else counts
    else:
        counts = visible_counts(queries, keys, problem.causal_alignment)
        place, at = positions(queries, keys, problem.causal_alignment), np.arange(keys)
    return counts_in_window(window, place, at, counts) if window else counts
