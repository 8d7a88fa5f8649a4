"""transformers' attention functions, and a finding that docs/findings.md tells of."""

from __future__ import annotations

import pytest

from properties.laws import LAWS
from tests.verification.adapters.laws import FINDINGS, keeps_the_laws
from verification.findings import load

pytest.importorskip("transformers", reason="transformers is an optional extra")

from verification.adapters.transformers import Eager, Sdpa


@pytest.mark.parametrize(
    ("backend", "dtype"), [(kind(), dtype) for kind in (Eager, Sdpa) for dtype in kind.contract.dtypes]
)
def test_keeps_the_laws(backend: Eager | Sdpa, dtype: str) -> None:
    keeps_the_laws(backend, dtype)


def test_a_hidden_overflow_is_still_nan() -> None:
    """Where this fails, upstream has mended it: strike it from docs/findings.md and tests/power/adapters.py."""
    hull = next(law for law in LAWS if law.name == "stays_in_convex_hull")
    assert hull.breaks(Eager(), load(FINDINGS / "transformers-eager-hidden-overflow.json").problem)
