"""torch's varlen_attn, which only CUDA has."""

from __future__ import annotations

import pytest

from tests.verification.adapters.laws import NAMES, keeps_the_laws
from verification.adapter import NotPortable
from verification.adapters.varlen import Varlen


@pytest.mark.parametrize("dtype", Varlen.contract.dtypes)
@pytest.mark.usefixtures("cuda_device")
def test_keeps_the_laws(dtype: str) -> None:
    keeps_the_laws(Varlen(), dtype, laws=(*NAMES, "chunks_equal_one_shot"))


def test_elsewhere_there_is_none() -> None:
    with pytest.raises(NotPortable, match="runs on cuda"):
        Varlen().on("cpu")
