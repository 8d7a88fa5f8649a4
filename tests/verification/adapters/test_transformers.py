"""transformers' attention functions."""

from __future__ import annotations

import pytest

from tests.verification.adapters.laws import keeps_the_laws

pytest.importorskip("transformers", reason="transformers is an optional extra")

from verification.adapters.transformers import Eager, Sdpa


@pytest.mark.parametrize(
    ("backend", "dtype"), [(kind(), dtype) for kind in (Eager, Sdpa) for dtype in kind.contract.dtypes]
)
def test_keeps_the_laws(backend: Eager | Sdpa, dtype: str) -> None:
    keeps_the_laws(backend, dtype)
