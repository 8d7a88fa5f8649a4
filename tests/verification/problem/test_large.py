"""Sizes of problems, and the labels of large ones."""

from __future__ import annotations

from tests.verification.samples import DECODE, one_head
from verification.problem import Problem
from verification.problem.large import LARGE, large_labels, size_of

LONG = Problem("prefill", "float16", 32, 8, 128, (1, 17), (129, 1))


def test_a_tiny_problem_has_no_label() -> None:
    assert size_of(DECODE) == size_of(one_head()) == "tiny"
    assert large_labels(DECODE) == set()


def test_a_large_problem_by_hand() -> None:
    """Its phase stands before each of its edges, so that the coverage page tells phases apart."""
    assert size_of(LONG) == "kernel"
    assert large_labels(LONG) == {
        *("prefill, kernel", "prefill, unequal lengths", "prefill, keys beside 128", "prefill, > 15 queries"),
    }
    assert large_labels(LONG) <= set(LARGE)


def test_an_engine_has_more_sequences_or_more_work() -> None:
    many = Problem("prefill", "float16", 1, 1, 1, (1,) * 66, (1,) * 66)
    assert size_of(many) == "engine"
    assert "prefill, > 64 sequences" in large_labels(many)
    assert size_of(Problem("prefill", "float16", 32, 8, 128, (1,), (600,))) == "engine"
