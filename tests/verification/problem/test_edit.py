"""Edits leave a problem valid, and what belongs to a sequence stays with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verification.samples import CHUNKED, DECODE, PREFILL, one_head
from verification.problem import Numbers, Problem, Special
from verification.problem.edit import turn_round, with_a_new_token, with_lengths
from verification.problem.labels import labels
from verification.problem.validate import check_problem


@pytest.mark.parametrize("problem", [PREFILL, DECODE, CHUNKED, one_head(queries=2, keys=3)])
def test_turned_round_twice_it_is_as_it_was(problem: Problem) -> None:
    """Lengths, tables and slots; and it has the same labels, so that the same contracts speak of it."""
    turned = check_problem(turn_round(problem))
    assert turn_round(turned) == problem
    assert set(labels(turned)) == set(labels(problem))


def test_slots_go_with_their_sequence() -> None:
    """Of keys in a prefill, of queries in a chunk."""
    assert turn_round(PREFILL).slot_mapping == (-1, 2, 0, 1, 7)
    assert turn_round(CHUNKED).slot_mapping == (3, 5, 0)
    assert turn_round(CHUNKED).block_tables == ((99, 1), (3, 3), (2, 0))


def test_numbers_of_a_problem_that_is_turned_are_filled() -> None:
    """Those that were written down, or planted, lay in places that other sequences have now."""
    given = {"numbers": (Numbers("q", (1.0,)),), "specials": (Special("v", 0, 0, 0, "nan"),)}
    assert turn_round(one_head(**given)) == one_head()


def test_special_numbers_go_with_their_token() -> None:
    """Those of a token that is removed are removed; those of a cache stay."""
    batch = replace(PREFILL, query_lens=(1, 2), key_lens=(3, 2), num_blocks=0, slot_mapping=())
    q, k, v = Special("q", 2, 0, 0, "nan"), Special("k", 2, 0, 0, "inf"), Special("v", 4, 0, 0, "nan")
    batch = replace(batch, specials=(q, k, v))
    assert with_lengths(batch, 0, None).specials == (replace(q, row=1), replace(v, row=1))
    assert with_lengths(batch, 0, (1, 1)).specials == (q, replace(v, row=2))
    assert with_lengths(batch, 1, None).specials == (k,)
    cached = replace(DECODE, specials=(Special("v_cache", 5, 0, 0, "nan"), Special("v", 1, 0, 0, "inf")))
    assert with_lengths(cached, 0, None).specials == (cached.specials[0], replace(cached.specials[1], row=0))


@pytest.mark.parametrize(
    ("i", "keys", "table", "slot"),
    [
        (1, 2, (3, 3), 7),  # the second token of block 3
        (1, 3, (3, 1), 2),  # the first of block 1
        (1, 2, (99, 3), -1),  # a block that is not there
        (1, 0, (3, 3), 6),  # an empty context becomes one token long
        (1, 5, (3, 1), -1),  # behind the table
    ],
)
def test_a_chunk_is_given_a_new_token(i: int, keys: int, table: tuple[int, int], slot: int) -> None:
    """The last one of its context, in the slot where it has lain."""
    tables = (CHUNKED.block_tables[0], table, CHUNKED.block_tables[2])
    problem = replace(CHUNKED, key_lens=(3, keys, 3), block_tables=tables)
    found = check_problem(with_a_new_token(problem, i))
    assert (found.query_lens, found.key_lens) == ((2, 1, 1), (3, max(1, keys), 3))
    assert found.slot_mapping == (5, 0, slot, 3)
