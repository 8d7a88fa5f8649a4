"""transformers' attention functions."""

from __future__ import annotations

import pytest

from properties.laws.agreement import agrees_with_reference
from tests.verification.adapters.laws import keeps_the_laws
from verification.problem import Problem

pytest.importorskip("transformers", reason="transformers is an optional extra")

from verification.adapters.transformers import Eager, Sdpa
from verification.adapters.transformers_scored import Gemma2, GptOss

KINDS = (Eager, Sdpa, Gemma2, GptOss)


@pytest.mark.parametrize(("backend", "dtype"), [(kind(), dtype) for kind in KINDS for dtype in kind.contract.dtypes])
def test_keeps_the_laws(backend: Eager | Sdpa | Gemma2 | GptOss, dtype: str) -> None:
    keeps_the_laws(backend, dtype)


def test_rows_that_see_nothing_give_the_mean() -> None:
    """Under masks that are finite: a bottom-right prefill with more queries than keys."""
    ahead = Problem("prefill", "float32", 1, 1, 2, (2,), (1,), value_fill="normal", causal_alignment="bottom_right")
    for backend in (Gemma2(), GptOss()):
        assert agrees_with_reference(backend, ahead)
