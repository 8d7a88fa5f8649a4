"""JAX, op by op."""

from __future__ import annotations

import pytest

from properties.laws.agreement import agrees_with_reference
from tests.verification.adapters.laws import keeps_the_laws, slow_but_first
from verification.problem import Problem

pytest.importorskip("jax", reason="jax is an optional extra")

from verification.adapters.jax import DotProductAttention
from verification.adapters.jax_masked import MaskedAttention


@pytest.mark.parametrize("dtype", slow_but_first(DotProductAttention.contract.dtypes))
def test_keeps_the_laws(dtype: str) -> None:
    """A few: each size is compiled, operation by operation."""
    keeps_the_laws(DotProductAttention(), dtype, examples=4)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", MaskedAttention.contract.dtypes)
def test_keeps_them_under_masks(dtype: str) -> None:
    """A few: each size is compiled, operation by operation."""
    keeps_the_laws(MaskedAttention(), dtype, examples=3)


def test_rows_that_see_nothing_give_the_mean() -> None:
    """A bottom-right prefill with more queries than keys: docs/findings.md, 17."""
    ahead = Problem("prefill", "float32", 1, 1, 16, (2,), (1,), value_fill="normal", causal_alignment="bottom_right")
    assert MaskedAttention.contract.speaks_of(ahead)
    assert agrees_with_reference(MaskedAttention(), ahead)
