"""onnxruntime's operators, and the findings that docs/findings.md tells of."""

from __future__ import annotations

import pytest
import torch

from properties.laws import LAWS
from tests.verification.adapters.laws import FINDINGS, keeps_the_laws
from verification.findings import load

pytest.importorskip("onnxruntime", reason="onnxruntime is an optional extra")
pytest.importorskip("onnx", reason="onnx is an optional extra")

from verification.adapters.onnxruntime import Attention, GroupQueryAttention, attention


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_attention(dtype: str) -> None:
    keeps_the_laws(Attention(), dtype)


@pytest.mark.parametrize("dtype", GroupQueryAttention.contract.dtypes)
def test_group_query_attention(dtype: str) -> None:
    keeps_the_laws(GroupQueryAttention(), dtype)


def test_the_float64_scale_is_still_of_float32() -> None:
    """Where this fails, upstream has mended it: strike it from docs/findings.md and test float64 above."""
    agrees = next(law for law in LAWS if law.name == "agrees_with_reference")
    assert agrees.breaks(Attention(), load(FINDINGS / "onnx-float64-scale.json").problem)


def test_the_causal_mask_is_still_finite() -> None:
    """As above."""
    q, k, v = (torch.tensor(x, dtype=torch.float16).view(1, 2, 1) for x in ([200, 0], [-200, 150], [0, 1]))
    assert attention(q, k, v, True, 1.0).flatten().tolist() == [1.0, 0.5]


def test_a_hidden_overflow_still_shows_its_value() -> None:
    """As above."""
    agrees = next(law for law in LAWS if law.name == "agrees_with_reference")
    assert agrees.breaks(Attention(), load(FINDINGS / "transformers-eager-hidden-overflow.json").problem)
