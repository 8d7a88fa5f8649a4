"""onnxruntime's Attention under masks, a softcap and a scale."""

from __future__ import annotations

import pytest

from properties.laws import LAWS
from properties.run.round import fuzz

pytest.importorskip("onnxruntime", reason="onnxruntime is an optional extra")
pytest.importorskip("onnx", reason="onnxruntime's operators are asked for by onnx")

from verification.adapters.onnxruntime_masked import MaskedAttention

NAMES = ("agrees_with_reference", "a_vast_softcap_is_none", "a_bool_mask_is_a_float_mask", "gqa_equals_expanded_mha")


def test_keeps_the_laws() -> None:
    """float16 has scores that overflow, and a mask that is added to them: docs/findings.md, 1."""
    for law in LAWS:
        if law.name in NAMES:
            result, broken, _ = fuzz(law, MaskedAttention(), "float32", 1, 40)
            assert broken is None, result.failure
