"""Nested tensors. In narrow formats they break a law: ledger/03."""

from __future__ import annotations

import pytest

from tests.verification.adapters.laws import keeps_the_laws
from verification.adapters.nested import Jagged

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_keeps_the_laws(dtype: str) -> None:
    keeps_the_laws(Jagged(), dtype)
