"""OpenVINO, at both precisions."""

from __future__ import annotations

import pytest

from tests.verification.adapters.laws import keeps_the_laws

pytest.importorskip("openvino", reason="openvino is an optional extra")

from verification.adapters.openvino import Sdpa, SdpaF32


@pytest.mark.parametrize(
    ("backend", "dtype"), [(kind(), dtype) for kind in (Sdpa, SdpaF32) for dtype in kind.contract.dtypes]
)
def test_keeps_the_laws(backend: Sdpa | SdpaF32, dtype: str) -> None:
    keeps_the_laws(backend, dtype)
