"""Tables and slots: what each choice promises, whatever the seed."""

from __future__ import annotations

from itertools import chain

import hypothesis.strategies as st
import pytest

from properties.generate.options import MANY, TABLES
from properties.generate.paging import MANY_BLOCKS, Paging, page_contexts, page_prefill, spoil_slots
from tests.properties.generated import over

_seeds = st.integers(0, 2**32 - 1)
_contexts = st.lists(st.integers(0, 40), max_size=3)
_sizes = st.sampled_from((1, 2, 3, 16))
_kinds = st.sampled_from(("padding", "negative", "too_large", "duplicate", "all"))
HOSTILE = {"padding": lambda b, _: b == -1, "negative": lambda b, _: b < -1, "too_large": lambda b, n: b >= n}


def paging(seed: int, contexts: list[int], size: int, **choices: object) -> Paging:
    """Ordinary tables but for the choices."""
    options = {"tables": "shuffled", "bad_blocks": "none", "tail": 0, "bad_slots": "none", "index_dtype": "int64"}
    return page_contexts(seed, contexts, size, **{**options, **choices})  # type: ignore[arg-type]


def needed(contexts: list[int], size: int) -> list[int]:
    """Blocks of each context."""
    return [-(-length // size) for length in contexts]


@pytest.mark.parametrize("tables", [*sorted({*TABLES} - {"shared"}), MANY])
@over(60, _seeds, _contexts, _sizes)
def test_each_context_has_blocks_of_its_own(tables: str, seed: int, contexts: list[int], size: int) -> None:
    """All in the cache, none twice."""
    made = paging(seed, contexts, size, tables=tables)
    used = [table[:n] for table, n in zip(made.block_tables, needed(contexts, size), strict=True)]
    blocks = list(chain(*used))
    assert [len(row) for row in used] == needed(contexts, size)
    assert len(set(blocks)) == len(blocks)
    assert set(blocks) <= set(range(made.num_blocks))
    assert (made.num_blocks == MANY_BLOCKS) == (tables == MANY)


@pytest.mark.parametrize("tables", sorted({*TABLES, MANY}))
@over(40, _seeds, _contexts, _sizes)
def test_blocks_may_lie_in_order(tables: str, seed: int, contexts: list[int], size: int) -> None:
    """As many of them, and new tokens in the last slots of their contexts, whatever order was chosen."""
    made, mixed = (paging(seed, contexts, size, tables=tables, ordered=ordered) for ordered in (True, False))
    for row, other, count in zip(made.block_tables, mixed.block_tables, needed(contexts, size), strict=True):
        assert list(row[:count]) == sorted(other[:count])
    for slot, row, length in zip(made.slot_mapping, made.block_tables, contexts, strict=True):
        assert slot == (row[(length - 1) // size] * size + (length - 1) % size if length else -1)


@over(100, _seeds, _contexts, _sizes)
def test_the_new_token_is_the_last_of_its_context(seed: int, contexts: list[int], size: int) -> None:
    """-1 where the context is empty."""
    made = paging(seed, contexts, size)
    for slot, table, length in zip(made.slot_mapping, made.block_tables, contexts, strict=True):
        last = length - 1
        assert slot == (table[last // size] * size + last % size if length else -1)


def test_orders_are_what_they_are_called() -> None:
    """For contexts of two blocks and one."""
    assert paging(0, [4, 1], 2, tables="identity").block_tables == ((0, 1), (2, paging_tail(0)))
    reversed_ = paging(0, [4, 2], 2, tables="reversed", tail=0).block_tables
    assert (reversed_[0], reversed_[1][0]) == ((2, 1), 0)
    maximal = paging(0, [4, 2], 2, tables="maximal")
    assert maximal.block_tables[0] == (maximal.num_blocks - 1, maximal.num_blocks - 2)
    assert paging(0, [1], 2, tables=MANY).block_tables == ((MANY_BLOCKS - 1,),)
    assert MANY_BLOCKS > 2**15


def paging_tail(seed: int) -> int:
    """What the second row of a ragged pair is filled up with."""
    return paging(seed, [4, 1], 2, tables="identity").block_tables[1][1]


@over(100, _seeds, st.lists(st.integers(17, 40), min_size=2, max_size=3))
def test_shared_tables_share_a_prefix(seed: int, contexts: list[int]) -> None:
    """The first blocks of the first sequence."""
    rows = paging(seed, contexts, 16, tables="shared").block_tables
    assert len({row[0] for row in rows}) == 1


@over(150, _seeds, _contexts, _sizes, st.sampled_from((0, 1, 3)), st.sampled_from(("int32", "int64")))
def test_entries_that_nobody_needs_are_hostile(
    seed: int, contexts: list[int], size: int, tail: int, dtype: str
) -> None:
    """None of them in the cache, all of them of the index dtype; rows are equally wide."""
    made = paging(seed, contexts, size, tail=tail, index_dtype=dtype)
    limit = 2**31 if dtype == "int32" else 2**63
    assert len({len(row) for row in made.block_tables}) <= 1
    for row, n in zip(made.block_tables, needed(contexts, size), strict=True):
        assert len(row) == max(needed(contexts, size)) + tail
        assert all(not 0 <= block < made.num_blocks and -limit <= block < limit for block in row[n:])


@pytest.mark.parametrize("kind", HOSTILE)
@over(80, _seeds, st.lists(st.integers(1, 40), min_size=1, max_size=3), _sizes)
def test_bad_blocks_are_needed_ones(kind: str, seed: int, contexts: list[int], size: int) -> None:
    """At least one of the kind asked for, and of no other."""
    made = paging(seed, contexts, size, bad_blocks=kind)
    used = [block for row, n in zip(made.block_tables, needed(contexts, size), strict=True) for block in row[:n]]
    bad = [block for block in used if not 0 <= block < made.num_blocks]
    assert bad
    assert all(HOSTILE[kind](block, made.num_blocks) for block in bad)


@over(80, _seeds, st.lists(st.integers(1, 40), min_size=1, max_size=3), _sizes, st.sampled_from((0, 1, 3)))
def test_a_short_table_lacks_the_last_block(seed: int, contexts: list[int], size: int, tail: int) -> None:
    """Of the longest context."""
    made = paging(seed, contexts, size, bad_blocks="short_table", tail=tail)
    assert {len(row) for row in made.block_tables} == {max(needed(contexts, size)) - 1}


@over(100, _seeds, st.integers(0, 60), _sizes)
def test_prefill_slots_are_distinct(seed: int, tokens: int, size: int) -> None:
    """In a cache with room to spare."""
    made = page_prefill(seed, tokens, size, "none", "int64")
    assert len(set(made.slot_mapping)) == len(made.slot_mapping) == tokens
    assert set(made.slot_mapping) <= set(range(made.num_blocks * size))
    assert made.num_blocks * size > tokens


@over(200, _seeds, st.integers(1, 12), _kinds, st.sampled_from(("int32", "int64")))
def test_spoilt_slots(seed: int, tokens: int, kind: str, dtype: str) -> None:
    """Some are of the kind asked for, the others stay, and all fit the index dtype."""
    slots, num_slots = list(range(tokens)), tokens + 3
    spoilt = spoil_slots(seed, slots, num_slots, kind, dtype)
    limit = 2**31 if dtype == "int32" else 2**63
    changed = [new for new, old in zip(spoilt, slots, strict=True) if new != old]
    assert len(spoilt) == tokens
    assert all(-limit <= slot < limit for slot in spoilt)
    is_kind = {
        "padding": lambda slot: slot == -1,
        "negative": lambda slot: slot < -1,
        "too_large": lambda slot: slot >= num_slots,
        "duplicate": lambda slot: slot in slots,
        "all": lambda _: True,
    }[kind]
    assert all(map(is_kind, changed))
    assert changed or kind in ("duplicate", "all")


def test_nothing_to_spoil() -> None:
    """No slots, or no wish to."""
    assert spoil_slots(0, [], 4, "all", "int64") == ()
    assert spoil_slots(0, [3, 1], 4, "none", "int64") == (3, 1)
