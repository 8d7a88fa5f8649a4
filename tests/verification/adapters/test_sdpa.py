"""torch's scaled_dot_product_attention under masks, and attention as one writes it down."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.laws import LAWS
from properties.run.round import fuzz
from verification.adapters.sdpa import Flash, Math
from verification.adapters.written import Written
from verification.backends.protocol import Backend
from verification.problem.formats import FORMATS

NAMES = ("agrees_with_reference", "the_future_does_not_matter", "batch_does_not_matter", "a_mask_equals_its_broadcast")


class FlashOfPositiveScales(Flash):
    """A scale of 0 or less is docs/findings.md, 12."""

    contract = replace(Flash.contract, scoring=Flash.contract.scoring - {"odd_scale"})


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("backend", [Math(), FlashOfPositiveScales(), Written()], ids=lambda backend: backend.name)
def test_keeps_the_laws(backend: Backend, dtype: str) -> None:
    for law in LAWS:
        if law.name in NAMES:
            result, broken, _ = fuzz(law, backend, dtype, 1, 40)
            assert result.problems == 40
            assert broken is None, result.failure
