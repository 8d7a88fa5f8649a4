"""torch's varlen_attn, which only CUDA has."""

from __future__ import annotations

import pytest
import torch

from tests.verification.adapters.laws import NAMES, keeps_the_laws
from verification.adapters.varlen import Varlen
from verification.backend import NotPortable
from verification.backends.kernels import HALVES


@pytest.mark.parametrize("dtype", HALVES)
def test_keeps_the_laws(dtype: str, request: pytest.FixtureRequest) -> None:
    """Skips visibly, or fails where --require-cuda asks for a device."""
    if not torch.cuda.is_available():
        (pytest.fail if request.config.getoption("require_cuda") else pytest.skip)("no CUDA device")
    keeps_the_laws(Varlen(), dtype, laws=(*NAMES, "chunks_equal_one_shot"))


def test_elsewhere_there_is_none() -> None:
    with pytest.raises(NotPortable, match="runs on cuda"):
        Varlen().on("cpu")
