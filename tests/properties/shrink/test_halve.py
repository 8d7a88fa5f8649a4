"""Large failing problems become small in few looks; a bug behind a threshold keeps the smallest size that shows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from properties.shrink.halve import MOST_LOOKS, halve_problem, is_large
from verification.problem import Problem
from verification.problem.validate import is_valid

LENGTHS = tuple(37 * (i % 7) + (4000 if i == 11 else 5) for i in range(64))
BLOCKS = [-(-length // 16) for length in LENGTHS]
ENGINE = Problem(
    *("decode", "float16", 32, 8, 128, (1,) * 64, LENGTHS, 16, sum(BLOCKS)),
    slot_mapping=(-1,) * 64,
    block_tables=tuple((*range(count), *[-1] * (max(BLOCKS) - count)) for count in BLOCKS),
    layout="strided",
    seed=3,
)


def longest(problem: Problem) -> int:
    return max(problem.key_lens, default=0)


@pytest.mark.parametrize(
    ("breaks", "batch", "keys"),
    [
        (lambda _: True, 1, 1),
        (lambda problem: longest(problem) > 512, 1, 513),
        (lambda problem: problem.num_sequences >= 8, 8, 1),
        (lambda problem: problem.num_sequences >= 8 and longest(problem) >= 512, 8, 512),
        (lambda problem: problem.num_sequences * problem.num_heads > 132, 5, 1),
        (lambda problem: 5 in problem.key_lens, 1, 5),
    ],
    ids=["any", "> 512 keys", "8 sequences", "8 sequences and 512 keys", "132 heads", "one of 5 keys"],
)
def test_thresholds_are_kept(breaks: Callable[[Problem], bool], batch: int, keys: int) -> None:
    looks = []

    def look(problem: Problem) -> bool:
        looks.append(problem)
        return breaks(problem)

    assert is_valid(ENGINE)
    small = halve_problem(ENGINE, look)
    assert breaks(small)
    assert len(looks) <= MOST_LOOKS
    assert (small.num_sequences, longest(small)) == (batch, keys)
    assert all(map(is_valid, looks))


def test_a_tiny_problem_is_left_alone() -> None:
    tiny = Problem("prefill", "float16", 1, 1, 1, (2,), (2,))
    assert not is_large(tiny)
    assert halve_problem(tiny, lambda _: True) is tiny


def test_no_more_looks_than_are_allowed() -> None:
    """What was reached by then still breaks."""
    looks = []
    halve_problem(ENGINE, lambda problem: looks.append(problem) or longest(problem) > 3999, looks=7)
    assert len(looks) == 7


@pytest.mark.parametrize(("least", "width"), [(0, 2), (3, 3), (1025, 1025)])
def test_wide_tables_become_narrow_in_few_looks(least: int, width: int) -> None:
    """As narrow as the contexts need, or as the bug does."""
    wide = Problem(
        *("decode", "float16", 1, 1, 1, (1, 1), (2, 0), 1, 2),
        slot_mapping=(1, -1),
        block_tables=((0, 1) * 808, (-1,) * 1616),
    )
    looks = []

    def look(problem: Problem) -> bool:
        looks.append(problem)
        return problem.table_width >= least

    assert halve_problem(wide, look).table_width == width
    assert len(looks) <= 13
    assert halve_problem(looks[0], look).table_width == 2
