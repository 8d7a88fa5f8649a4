"""Who may see what, against the contract's inequalities written out as loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import hypothesis.strategies as st
import numpy as np
import pytest

from tests.properties.generated import over
from tests.verification.samples import CHUNKED, one_head
from verification.problem.scoring import Scoring
from verification.problem.visibility import (
    context_slots,
    count_behind_window,
    counts_in_context,
    slots_in_window,
    visible_counts,
    visible_keys,
)

LENGTHS = list(product(range(6), range(6)))


@pytest.mark.parametrize(("num_queries", "num_keys"), LENGTHS)
def test_top_left(num_queries: int, num_keys: int) -> None:
    """Query a sees key b where b <= a."""
    counts = [sum(b <= a for b in range(num_keys)) for a in range(num_queries)]
    assert visible_counts(num_queries, num_keys, "top_left").tolist() == counts


@pytest.mark.parametrize(("num_queries", "num_keys"), LENGTHS)
def test_bottom_right(num_queries: int, num_keys: int) -> None:
    """Query a sees key b where b <= a + Lk - Lq: the last query sees everything."""
    counts = [sum(b <= a + num_keys - num_queries for b in range(num_keys)) for a in range(num_queries)]
    assert visible_counts(num_queries, num_keys, "bottom_right").tolist() == counts


@pytest.mark.parametrize("length", range(6))
def test_alignments_agree_on_squares(length: int) -> None:
    """As many queries as keys."""
    assert np.array_equal(visible_counts(length, length, "top_left"), visible_counts(length, length, "bottom_right"))


@pytest.mark.parametrize("alignment", ["top_left", "bottom_right", "none"])
@pytest.mark.parametrize("window", [0, 1, 3])
@pytest.mark.parametrize(("num_queries", "num_keys"), LENGTHS)
def test_keys_in_a_window(num_queries: int, num_keys: int, window: int, alignment: str) -> None:
    """Query a at position p = a, or a + Lk - Lq, sees of its keys those with p - b < window."""
    problem = replace(one_head(queries=num_queries, keys=num_keys), causal_alignment=alignment)
    problem = replace(problem, scoring=Scoring(window=window))
    offset = 0 if alignment == "top_left" else num_keys - num_queries
    for a, seen in enumerate(visible_keys(problem, 0)):
        causal = [b for b in range(num_keys) if alignment == "none" or b <= a + offset]
        assert list(seen) == [b for b in causal if not window or a + offset - b < window]


@pytest.mark.parametrize("alignment", ["top_left", "bottom_right", "none"])
@pytest.mark.parametrize("window", [0, 1, 3])
@pytest.mark.parametrize(("num_queries", "num_keys"), LENGTHS)
def test_keys_behind_a_window(num_queries: int, num_keys: int, window: int, alignment: str) -> None:
    """The keys in front of the first one that some query sees; where none sees any, nothing that is seen."""
    problem = replace(one_head(queries=num_queries, keys=num_keys), causal_alignment=alignment)
    problem = replace(problem, scoring=Scoring(window=window))
    seen = {key for keys in visible_keys(problem, 0) for key in keys}
    behind = count_behind_window(problem, num_queries, num_keys)
    assert behind == min(seen) if seen else 0 <= behind <= num_keys
    assert behind == 0 or window


@pytest.mark.parametrize("window", [1, 2, 3, 5, 9])
@pytest.mark.parametrize(("queries", "context"), [(1, 1), (1, 7), (2, 7), (7, 7), (0, 4)])
def test_slots_behind_a_window(queries: int, context: int, window: int) -> None:
    """Of a chunk's context, those at the positions that some query sees: p - window < t <= p, p its own; a lost block
    has none.
    """
    problem = replace(CHUNKED, block_size=2, num_blocks=6, scoring=Scoring(window=window))
    table = np.array([4, 99, 0, 5])
    seen = {t for p in range(context - queries, context) for t in range(max(0, p - window + 1), p + 1)}
    slots = [int(table[t // 2]) * 2 + t % 2 for t in sorted(seen) if table[t // 2] != 99]
    assert slots_in_window(problem, queries, context, table).tolist() == slots


_block = st.one_of(st.integers(-3, 6), st.sampled_from([-(2**31), 2**31 - 1]))


@over(300, st.integers(0, 14), st.lists(_block, max_size=4), st.integers(1, 4), st.integers(1, 5))
def test_context_slots(context_len: int, table: list[int], block_size: int, num_blocks: int) -> None:
    """Position t is slot table[t // S] * S + t % S, where there is such a column and such a block."""
    slots = []
    for t in range(context_len):
        if t // block_size < len(table) and 0 <= table[t // block_size] < num_blocks:
            slots.append(table[t // block_size] * block_size + t % block_size)
    for dtype in (np.int32, np.int64):
        assert context_slots(context_len, np.array(table, dtype), block_size, num_blocks).tolist() == slots


def test_slots_do_not_overflow_32_bits() -> None:
    """Block ids of 32 bits times a block size exceed them."""
    table = np.array([2**30], np.int32)
    assert context_slots(2, table, 16, 2**31).tolist() == [2**34, 2**34 + 1]


@pytest.mark.parametrize("table", [[], [1], [2, -1, 0], [0, 3, 9, 1]])
@pytest.mark.parametrize(("queries", "length"), [(0, 0), (0, 5), (1, 0), (1, 1), (3, 3), (2, 7), (8, 8), (5, 12)])
def test_counts_in_a_context(queries: int, length: int, table: list[int]) -> None:
    """Query a, at position Lk - Lq + a, sees the keys up to there that lie in a block of the cache."""
    seen = [t for t in range(min(length, 2 * len(table))) if 0 <= table[t // 2] < 4]
    counts = [sum(t <= length - queries + a for t in seen) for a in range(queries)]
    assert counts_in_context(queries, length, np.array(table, np.int32), 2, 4).tolist() == counts
