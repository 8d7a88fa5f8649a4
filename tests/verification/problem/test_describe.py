"""A problem in words."""

from __future__ import annotations

from dataclasses import replace

from properties.generate.strategies import problems
from tests.properties.generated import over
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.problem import Problem, Special
from verification.problem.describe import describe


def test_the_smallest_problem() -> None:
    """Singular nouns, and nothing that goes without saying."""
    assert describe(one_head()).splitlines() == [
        "prefill in float16: 1 head over 1 kv head, head_dim 1",
        "sequence 0: 1 query, 1 key",
        "score fill ones, value fill ones, seed 0",
    ]


def test_a_prefill() -> None:
    """Lengths, alignment where it matters, slots."""
    assert describe(PREFILL).splitlines() == [
        "prefill in float16: 2 heads over 1 kv head, head_dim 4",
        "sequence 0: 3 queries, 3 keys",
        "sequence 1: 1 query, 2 keys",
        "causal alignment top_left",
        "cache: 4 blocks of 2; new tokens go to slots [0, 1, 7, -1, 2]",
        "score fill normal, value fill normal, seed 7",
    ]


def test_a_decode() -> None:
    """Contexts and blocks."""
    assert describe(DECODE).splitlines()[1:4] == [
        "sequence 0: context 3, blocks [2, 0]",
        "sequence 1: context 2, blocks [1, 99]",
        "cache: 4 blocks of 2; new tokens go to slots [0, 3]",
    ]


def test_what_is_unusual_is_said() -> None:
    """Layouts, poison, index dtype, narrow caches, misuse, specials."""
    unusual = replace(
        PREFILL,
        layout="fused",
        cache_layout="interleaved",
        poison=("nan", "large"),
        index_dtype="int32",
        cache_dtype="float16",
        misuse="q_list",
        specials=(Special("v", 1, 0, 3, "-inf"),),
    )
    text = describe(unusual)
    for line in (
        "layout fused",
        "cache layout interleaved",
        "poison around k, v nan/large",
        "indices int32",
        "misuse q_list",
        "v[1, 0, 3] = -inf",
        "4 blocks of 2 in float16",
    ):
        assert line in text


def test_long_lists_are_cut() -> None:
    """To a dozen."""
    problem = one_head(keys=40, num_blocks=40, slot_mapping=tuple(range(40)))
    assert "slots [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...]" in describe(problem)


def test_many_sequences_have_one_line() -> None:
    """All behind the fourth."""
    text = describe(replace(PREFILL, query_lens=(1,) * 4 + (1, 1, 1), key_lens=(1,) * 4 + (5, 2, 64)))
    assert "sequence 3: 1 query, 1 key\n3 more: 1 query, 2 to 64 keys each\n" in text
    assert "sequence 4" not in text


@over(100, problems("float16"))
def test_a_few_short_lines(problem: Problem) -> None:
    """Whatever the problem."""
    lines = describe(problem).splitlines()
    assert 3 <= len(lines) <= 18
    assert all(lines)
