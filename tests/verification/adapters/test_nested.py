"""Nested tensors, and the finding that docs/findings.md tells of."""

from __future__ import annotations

import pytest
import torch

from properties.laws import LAWS
from tests.verification.adapters.laws import FINDINGS, keeps_the_laws
from verification.adapters.nested import Jagged
from verification.findings import load

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_keeps_the_laws(dtype: str) -> None:
    keeps_the_laws(Jagged(), dtype)


def test_scores_are_still_of_the_inputs_dtype() -> None:
    """Where this fails, upstream has mended it: strike it from docs/findings.md and test every dtype above."""
    agrees = next(law for law in LAWS if law.name == "agrees_with_reference")
    assert agrees.breaks(Jagged(), load(FINDINGS / "torch-nested-half-scores.json").problem)


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="no bfloat16 instructions")
def test_bfloat16_products_still_flush() -> None:
    """As above."""
    agrees = next(law for law in LAWS if law.name == "agrees_with_reference")
    assert agrees.breaks(Jagged(), load(FINDINGS / "torch-nested-bfloat16-subnormals.json").problem)
