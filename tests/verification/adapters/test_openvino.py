"""OpenVINO, at both precisions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.laws.agreement import agrees_with_reference
from tests.verification.adapters.laws import keeps_the_laws
from verification.adapter import Problem, promising

pytest.importorskip("openvino", reason="openvino is an optional extra")

from verification.adapters.openvino import Sdpa, SdpaF32


class NotOfOne(Sdpa):
    """What a head size of 1 does on a processor with AMX is docs/findings.md, 19."""

    contract = promising(*Sdpa.contract.dtypes, head_dims=(2, 3, 12, 16, 64, 80, 128))


@pytest.mark.parametrize(
    ("backend", "dtype"), [(kind(), dtype) for kind in (NotOfOne, SdpaF32) for dtype in kind.contract.dtypes]
)
def test_keeps_the_laws(backend: NotOfOne | SdpaF32, dtype: str) -> None:
    keeps_the_laws(backend, dtype)


def test_one_made_anew_has_been_asked_nothing() -> None:
    """A failure that needs earlier calls is told with these only if an adapter made anew does not need them."""
    narrow = Problem("prefill", "bfloat16", 1, 1, 1, (2,), (2,), value_fill="normal")
    assert agrees_with_reference(Sdpa(), narrow)
    assert agrees_with_reference(Sdpa(), replace(narrow, head_dim=16))
