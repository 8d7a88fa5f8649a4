"""Grouped-query attention's repeated heads."""

from __future__ import annotations

import pytest
import torch

from attn_core import repeat_kv
from tests.attn_core.calls import DTYPES


def test_one_repetition_returns_the_input_itself() -> None:
    """n_rep == 1: not even a view, and no limit applies."""
    x = torch.randn(3, 40, 2)
    assert repeat_kv(x, 1) is x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_rep", [2, 3, 8])
def test_a_head_is_followed_by_its_copies(dtype: torch.dtype, n_rep: int) -> None:
    """Head g becomes heads g*n_rep ... g*n_rep + n_rep - 1: repeated, not tiled."""
    x = torch.randn(5, 4, 2).to(dtype)
    repeated = repeat_kv(x, n_rep)
    assert repeated.dtype == dtype
    assert repeated.shape == (5, 4 * n_rep, 2)
    for head in range(4 * n_rep):
        assert repeated[:, head].equal(x[:, head // n_rep])


def test_the_input_is_not_modified() -> None:
    """What is repeated is read only."""
    x = torch.randn(2, 2, 2)
    before = x.clone()
    repeat_kv(x, 2).fill_(0.0)
    assert x.equal(before)


@pytest.mark.parametrize("seq_len", [0, 1])
def test_an_empty_or_single_token_sequence_is_ordinary(seq_len: int) -> None:
    """A length-0 sequence has no tokens and H heads."""
    assert repeat_kv(torch.zeros(seq_len, 2, 8), 2).shape == (seq_len, 4, 8)


@pytest.mark.parametrize(("heads", "n_rep", "limit"), [(16, 2, 32), (1, 32, 32), (8, 8, 64), (2, 2, 4)])
def test_the_limit_itself_is_allowed(heads: int, n_rep: int, limit: int) -> None:
    """G * n_rep == max_heads."""
    assert repeat_kv(torch.zeros(1, heads, 1), n_rep, limit).shape[1] == limit


@pytest.mark.parametrize(("heads", "n_rep", "limit"), [(11, 3, 32), (8, 8, 63), (2, 2, 3)])
def test_above_the_limit_is_refused(heads: int, n_rep: int, limit: int) -> None:
    """G * n_rep > max_heads is a ValueError that names the limit."""
    with pytest.raises(ValueError, match=f"max_heads={limit}"):
        repeat_kv(torch.zeros(1, heads, 1), n_rep, limit)


def test_the_default_limit_is_the_flowcharts() -> None:
    """33 heads are too many where nothing is said."""
    with pytest.raises(ValueError, match="max_heads=32"):
        repeat_kv(torch.zeros(1, 11, 1), 3)
