"""JAX, op by op."""

from __future__ import annotations

import pytest

from tests.verification.adapters.laws import keeps_the_laws

pytest.importorskip("jax", reason="jax is an optional extra")

from verification.adapters.jax import DotProductAttention
from verification.adapters.jax_masked import MaskedAttention


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [(kind(), dtype) for kind in (DotProductAttention, MaskedAttention) for dtype in kind.contract.dtypes],
)
def test_keeps_the_laws(backend: DotProductAttention | MaskedAttention, dtype: str) -> None:
    keeps_the_laws(backend, dtype)
