"""One number that says whether many are finite."""

from __future__ import annotations

import pytest
import torch

from attn_core.finite import checksum
from tests.attn_core.calls import DTYPES


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_checksum_tells_what_is_not_finite(value: float, dtype: torch.dtype) -> None:
    """Wherever it is, also beside its opposite; of nothing it is 0 where nothing lies."""
    x = torch.full((3, 4), 6e4).to(dtype)
    assert checksum(x, x, x).isfinite()
    for i in range(12):
        bad = x.clone()
        bad.view(-1)[i] = value
        for each in ((bad, x), (x, bad), (bad, -bad)):
            assert not checksum(*each).isfinite()
    empty = torch.empty(0, 2, 4, dtype=dtype, device="meta")
    assert checksum(empty, empty).device.type == "meta"
    assert checksum(x[:0]) == 0
