"""Answers that one can compute in the head."""

from __future__ import annotations

from dataclasses import replace
from math import e, inf, nan, sqrt
from typing import Any

import numpy as np
import pytest

from tests.verification.samples import DECODE, one_head, with_numbers
from verification.oracle.expectation import Expectation, expect
from verification.oracle.precision import Precision
from verification.problem import Problem


def answer(problem: Problem, **arrays: Any) -> list[float]:
    """The exact output, flat."""
    return expectation(problem, **arrays).exact.ravel().tolist()


def expectation(problem: Problem, **arrays: Any) -> Expectation:
    """For attn_core's profile."""
    return expect(with_numbers(problem, **arrays), Precision())


def test_one_key_gives_its_value() -> None:
    """Whatever its score."""
    assert answer(one_head(), q=[-3], k=[7], v=[5]) == [5.0]


def test_equal_scores_give_the_mean() -> None:
    """Two keys, and ten."""
    assert answer(one_head(keys=2), q=[1], k=[3, 3], v=[2, 4]) == [3.0]
    assert answer(one_head(keys=10), q=[0], k=range(10), v=range(10)) == pytest.approx([4.5], rel=1e-15)


def test_a_score_of_one_weighs_e() -> None:
    """q k / sqrt(D) with D = 1, and with D = 4 for twice the key."""
    assert answer(one_head(keys=2), q=[1], k=[1, 0], v=[1, 0]) == pytest.approx([e / (e + 1)], rel=1e-15)
    four = answer(one_head(keys=2, head_dim=4), q=[1, 0, 0, 0], k=[2, 0, 0, 0] + [0] * 4, v=[1] * 4 + [0] * 4)
    assert four == pytest.approx([e / (e + 1)] * 4, rel=1e-15)


def test_scale_is_not_a_power_of_two_for_three() -> None:
    """1 / sqrt(3)."""
    weight = 1 / (1 + np.exp(-3 / sqrt(3)))
    got = answer(one_head(keys=2, head_dim=3), q=[1] * 3, k=[1] * 3 + [0] * 3, v=[1] * 3 + [0] * 3)
    assert got == pytest.approx([weight] * 3, rel=1e-14)


def test_top_left_gives_running_means() -> None:
    """Query a averages keys 0..a; keys behind the last query are not seen."""
    problem = one_head(queries=3, keys=5, causal_alignment="top_left")
    assert answer(problem, q=[0] * 3, k=[0] * 5, v=[0, 2, 4, 100, nan]) == pytest.approx([0, 1, 2], rel=1e-15)


def test_bottom_right_lets_the_last_query_see_all() -> None:
    """Two queries behind three cached keys."""
    problem = one_head(queries=2, keys=5)
    assert answer(problem, q=[0] * 2, k=[0] * 5, v=[0, 2, 4, 6, 8]) == pytest.approx([3, 4], rel=1e-15)


def test_rows_that_see_nothing_are_zero() -> None:
    """Bottom-right with more queries than keys: the first ones; their bound is 0."""
    found = expectation(one_head(queries=3, keys=1), q=[1] * 3, k=[1], v=[9])
    assert found.exact.ravel().tolist() == [0, 0, 9]
    assert found.bound.ravel()[:2].tolist() == [0, 0]


def test_query_heads_share_kv_heads_in_runs() -> None:
    """Four heads over two: 0 and 1 read the first, 2 and 3 the second."""
    problem = replace(one_head(), num_heads=4, num_kv_heads=2)
    assert answer(problem, q=[1] * 4, k=[1, 1], v=[10, 20]) == [10, 10, 20, 20]


def decode(table: tuple[int, ...], context: int, **changes: Any) -> Problem:
    """One sequence, one head, head_dim 1, three blocks of two; nothing is stored."""
    sizes = {"num_heads": 1, "num_kv_heads": 1, "head_dim": 1, "query_lens": (1,), "slot_mapping": (-1,)}
    return replace(DECODE, **{**sizes, "num_blocks": 3, "block_tables": (table,), "key_lens": (context,), **changes})


CACHE = {"q": [0], "k_cache": [0] * 6, "v_cache": [1, 2, 4, 8, 16, 32]}


@pytest.mark.parametrize(
    ("table", "context", "mean"),
    [
        ((0,), 2, 3 / 2),
        ((2, 0), 3, (16 + 32 + 1) / 3),
        ((2, 0), 4, (16 + 32 + 1 + 2) / 4),
        ((1, 99), 1, 4),
        ((0, -1, 2), 5, (1 + 2 + 16) / 3),
        ((-5, 1), 3, 4),
        ((3, 1), 4, (4 + 8) / 2),
        ((1,), 9, (4 + 8) / 2),
        ((0, 0), 4, 3 / 2),
        ((-1, -1), 4, 0),
        ((0, 1), 0, 0),
    ],
)
def test_decode_reads_its_blocks_in_place(table: tuple[int, ...], context: int, mean: float) -> None:
    """Blocks outside the cache are masked and the others keep their place; the tail is not read; else zeros."""
    assert answer(decode(table, context), **CACHE) == pytest.approx([mean], rel=1e-15)


def test_decode_sees_the_token_that_it_stores() -> None:
    """And not what its slot held before."""
    problem = decode((0,), 2, slot_mapping=(1,))
    assert answer(problem, **{**CACHE, "k": [0], "v": [100]}) == pytest.approx([(1 + 100) / 2], rel=1e-15)


def test_a_narrow_cache_rounds_what_it_stores() -> None:
    """To nearest even: 2049 is 2048 in float16."""
    problem = decode((0,), 2, slot_mapping=(1,), dtype="float32", cache_dtype="float16")
    assert answer(problem, **{**CACHE, "k": [0], "v": [2049]}) == pytest.approx([(1 + 2048) / 2], rel=1e-15)


@pytest.mark.parametrize("key", [nan, inf])
def test_a_visible_bad_key_makes_the_row_nan(key: float) -> None:
    """inf - inf, too."""
    assert np.isnan(answer(one_head(keys=2, head_dim=2), q=[1, 1], k=[key, 0, 0, 0], v=[1, 2, 3, 4])).all()


def test_nothing_but_nan_will_do_for_a_visible_nan() -> None:
    """The bound is 0."""
    assert expectation(one_head(keys=2), q=[1], k=[nan, 0], v=[1, 2]).bound.tolist() == [[[0.0]]]


def test_a_key_of_minus_infinity_has_no_weight() -> None:
    """The other one gets it all."""
    assert answer(one_head(keys=2), q=[1], k=[-inf, 0], v=[1, 2]) == [2.0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [((inf, 0), inf), ((-inf, 5), -inf), ((inf, inf), inf), ((inf, -inf), nan), ((nan, 0), nan), ((nan, inf), nan)],
)
def test_visible_bad_values_appear(values: tuple[float, float], expected: float) -> None:
    """In their column alone."""
    found = expectation(one_head(keys=2, head_dim=2), q=[0, 0], k=[0] * 4, v=[values[0], 1, values[1], 3])
    assert found.exact.ravel().tolist() == pytest.approx([expected, 2.0], nan_ok=True)
    assert found.bound.ravel()[0] == 0


def test_a_visible_nan_appears_however_small_its_weight() -> None:
    """e^-2000 is 0 in float64, and 0 * NaN is NaN."""
    assert np.isnan(answer(one_head("float32", keys=2), q=[1], k=[0, -2000], v=[1, nan])[0])


def test_hidden_bad_numbers_do_nothing() -> None:
    """NaN and Inf behind the diagonal."""
    problem = one_head(queries=2, keys=2)
    assert answer(problem, q=[0, 0], k=[0, 0], v=[1, inf])[0] == 1.0
    assert answer(problem, q=[0, 0], k=[0, nan], v=[1, nan])[0] == 1.0


def test_sequences_do_not_see_each_other() -> None:
    """Nor does an empty one between them shift anything."""
    problem = replace(one_head(), query_lens=(1, 0, 2), key_lens=(2, 0, 2))
    values = [1, 3, 10, 30]
    assert answer(problem, q=[0] * 3, k=[0] * 4, v=values) == pytest.approx([2, 10, 20], rel=1e-15)
