"""JAX, op by op."""

from __future__ import annotations

import pytest

from tests.verification.adapters.laws import keeps_the_laws, slow_but_first

pytest.importorskip("jax", reason="jax is an optional extra")

from verification.adapters.jax import DotProductAttention
from verification.adapters.jax_masked import MaskedAttention


@pytest.mark.parametrize("dtype", slow_but_first(DotProductAttention.contract.dtypes))
def test_keeps_the_laws(dtype: str) -> None:
    keeps_the_laws(DotProductAttention(), dtype)


@pytest.mark.parametrize("dtype", slow_but_first(MaskedAttention.contract.dtypes))
def test_keeps_them_under_masks(dtype: str) -> None:
    """A few: each size is compiled, operation by operation."""
    keeps_the_laws(MaskedAttention(), dtype, examples=3)
