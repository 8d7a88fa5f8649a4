"""onnxruntime's operators. In float64 they break a law: ledger/02."""

from __future__ import annotations

import pytest

from tests.verification.adapters.laws import keeps_the_laws

pytest.importorskip("onnxruntime", reason="onnxruntime is an optional extra")
pytest.importorskip("onnx", reason="onnx is an optional extra")

from verification.adapters.onnxruntime import Attention, GroupQueryAttention


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_attention(dtype: str) -> None:
    keeps_the_laws(Attention(), dtype)


@pytest.mark.parametrize("dtype", GroupQueryAttention.contract.dtypes)
def test_group_query_attention(dtype: str) -> None:
    keeps_the_laws(GroupQueryAttention(), dtype)
