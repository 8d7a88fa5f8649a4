"""Which keys are hidden."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from attn_core import causal_mask

SIZES = tuple(product(range(5), repeat=2))


@pytest.mark.parametrize(("num_queries", "num_keys"), SIZES)
def test_top_left_hides_b_above_a(num_queries: int, num_keys: int) -> None:
    """Query a sees key b when b <= a."""
    expected = [[b > a for b in range(num_keys)] for a in range(num_queries)]
    assert causal_mask(num_queries, num_keys).tolist() == expected


@pytest.mark.parametrize(("num_queries", "num_keys"), SIZES)
def test_bottom_right_hides_b_above_a_shifted(num_queries: int, num_keys: int) -> None:
    """Query a sees key b when b <= a + Lk - Lq: the last query sees every key."""
    expected = [[b > a + num_keys - num_queries for b in range(num_keys)] for a in range(num_queries)]
    assert causal_mask(num_queries, num_keys, "bottom_right").tolist() == expected


@pytest.mark.parametrize("length", range(5))
def test_the_alignments_agree_on_squares(length: int) -> None:
    """Lq == Lk: nothing to align."""
    assert causal_mask(length, length, "top_left").equal(causal_mask(length, length, "bottom_right"))


def test_top_left_is_the_default() -> None:
    """The flowchart's triu(diagonal=1)."""
    assert causal_mask(2, 4).equal(causal_mask(2, 4, "top_left"))


def test_it_is_boolean_and_lives_where_it_is_asked_to() -> None:
    """True is hidden; no number is added to a score."""
    mask = causal_mask(2, 3, "top_left", torch.device("meta"))
    assert (mask.dtype, mask.device.type, tuple(mask.shape)) == (torch.bool, "meta", (2, 3))
