"""A few laws on a few problems each: what an adapter must survive here. Sweeps are `attn-verify fuzz --backend`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from properties.laws import LAWS
from properties.run.round import fuzz
from verification.backends.protocol import Backend

NAMES = ("agrees_with_reference", "the_future_does_not_matter", "batch_does_not_matter", "strides_do_not_matter")


def slow_but_first(dtypes: Iterable[str]) -> list[Any]:
    """The first dtype in every run of the tests, the others in the slow one: of adapters that take seconds for each."""
    first, *others = dtypes
    return [first, *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in others)]


def keeps_the_laws(backend: Backend, dtype: str, examples: int = 12, laws: tuple[str, ...] = NAMES) -> None:
    assert dtype in backend.contract.dtypes
    for law in LAWS:
        if law.name in laws:
            tried = fuzz(law, backend, dtype, 1, examples)
            assert tried.result.problems == examples
            assert tried.broken is None, tried.result.failure
