"""Past Hypothesis's shrinking: every simpler neighbour is tried, and what is left still breaks the law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from properties.generate.strategies import problems
from properties.shrink.reduce import propose_simpler, reduce_problem
from tests.properties.generated import generated, over
from tests.verification.samples import DECODE
from verification.problem import Problem
from verification.problem.validate import is_valid

PREDICATES: dict[str, Callable[[Problem], bool]] = {
    "two queries see two keys": lambda p: any(
        min(q, k) >= 2 for q, k in zip(p.query_lens, p.key_lens, strict=True) if p.phase == "prefill"
    ),
    "a context of three": lambda p: p.phase == "decode" and max(p.key_lens, default=0) >= 3,
    "a slot is written": lambda p: any(0 <= slot < p.num_slots for slot in p.slot_mapping),
    "grouped heads": lambda p: 1 < p.num_kv_heads < p.num_heads,
    "steep scores": lambda p: p.score_fill == "steep",
    "a bad block": lambda p: any(b < 0 for t in p.block_tables for b in t[:1]) and max(p.key_lens) > 0,
}


@pytest.mark.parametrize("name", PREDICATES)
def test_what_is_left_has_no_simpler_neighbour(name: str) -> None:
    """And it is valid, and it still breaks the law."""
    breaks = PREDICATES[name]
    found = [problem for problem in generated("float16", 400) if breaks(problem)][:15]
    assert found
    for problem in found:
        small = reduce_problem(problem, breaks)
        assert is_valid(small)
        assert breaks(small)
        assert not any(is_valid(other) and breaks(other) for other in propose_simpler(small))


@pytest.mark.parametrize(
    ("name", "query_lens", "key_lens"),
    [("two queries see two keys", (2,), (2,)), ("a context of three", (1,), (3,)), ("grouped heads", (), ())],
)
def test_what_is_left_is_as_small_as_it_can_be(
    name: str, query_lens: tuple[int, ...], key_lens: tuple[int, ...]
) -> None:
    """From wherever it starts."""
    for problem in [p for p in generated("float16", 400) if PREDICATES[name](p)][:15]:
        small = reduce_problem(problem, PREDICATES[name])
        assert (small.query_lens, small.key_lens, small.head_dim) == (query_lens, key_lens, 1)
        assert (small.score_fill, small.value_fill, small.layout, small.seed) == ("ones", "ones", "contiguous", 0)


def test_a_high_id_is_as_low_as_it_can_be() -> None:
    """From behind 16 bits to behind 15, in few looks."""
    looks: list[Problem] = []

    def breaks(problem: Problem) -> bool:
        looks.append(problem)
        return any(2**15 <= block < problem.num_blocks for row in problem.block_tables for block in row)

    sizes = {
        "num_heads": 1,
        "head_dim": 1,
        "block_size": 1,
        "query_lens": (1,),
        "key_lens": (1,),
        "slot_mapping": (-1,),
    }
    high = replace(DECODE, **sizes, block_tables=((2**16 + 1,),), num_blocks=2**16 + 3)  # type: ignore[arg-type]
    small = reduce_problem(high, breaks)
    assert (small.block_tables, small.num_blocks) == (((2**15,),), 2**15 + 1)
    assert len(looks) < 100


@over(60, problems("float16"))
def test_neighbours_differ_and_stay_what_they_are(problem: Problem) -> None:
    """Another problem each, of the same phase and dtype."""
    for other in propose_simpler(problem):
        assert other != problem
        assert (other.phase, other.dtype, other.misuse) == (problem.phase, problem.dtype, problem.misuse)


def test_sizes_that_no_strategy_draws_become_the_smallest() -> None:
    """As they are where a backend is asked with sizes of its own."""
    problem = generated("float16", 400)[-1]
    odd = replace(problem, num_heads=14, num_kv_heads=7, head_dim=96, block_size=32)
    small = reduce_problem(odd, lambda other: other.phase == problem.phase)
    assert (small.num_heads, small.num_kv_heads, small.head_dim, small.block_size) == (1, 1, 1, 1)


def test_a_problem_without_simpler_ones_stays() -> None:
    """Nothing breaks but itself."""
    problem = generated("float16", 400)[-1]
    assert reduce_problem(problem, lambda other: other == problem) == problem
    assert reduce_problem(replace(problem, seed=5), lambda _: False) == replace(problem, seed=5)
