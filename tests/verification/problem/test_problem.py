"""A problem counts its own tokens and is plain frozen data."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from tests.verification.samples import DECODE, PREFILL, one_head


def test_prefill_counts() -> None:
    """Every key of the call is new."""
    assert (PREFILL.num_sequences, PREFILL.num_queries, PREFILL.num_new_keys) == (2, 4, 5)
    assert (PREFILL.num_slots, PREFILL.table_width) == (8, 0)


def test_decode_counts() -> None:
    """One query and one new key a sequence, however long the contexts."""
    assert (DECODE.num_sequences, DECODE.num_queries, DECODE.num_new_keys) == (2, 2, 2)
    assert (DECODE.num_slots, DECODE.table_width) == (8, 2)


def test_replacing_recounts() -> None:
    """What was counted once is not carried into a changed copy."""
    assert PREFILL.num_queries == 4
    assert replace(PREFILL, query_lens=(9, 9)).num_queries == 18


def test_frozen_and_hashable() -> None:
    """Equal problems are one key; none can be changed."""
    assert len({PREFILL, replace(PREFILL), DECODE}) == 2
    with pytest.raises(FrozenInstanceError):
        PREFILL.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(("head_dim", "scale"), [(1, 1.0), (4, 0.5), (64, 0.125), (256, 0.0625)])
def test_scale_is_one_over_root_d(head_dim: int, scale: float) -> None:
    """As a Python float."""
    assert one_head(head_dim=head_dim).scale == scale
    assert isinstance(one_head(head_dim=head_dim).scale, float)


def test_cache_has_the_problems_dtype_unless_told() -> None:
    """An empty cache_dtype is the dtype."""
    assert PREFILL.cache_format == "float16"
    assert replace(PREFILL, cache_dtype="float32").cache_format == "float32"
