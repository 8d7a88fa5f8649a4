"""mlx's attention on a processor, under masks, sinks and a scale."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("mlx.core", reason="mlx is an optional extra")

from tests.verification.adapters.laws import NAMES, keeps_the_laws
from verification.adapters.mlx import Attention, from_mlx, to_mlx


@pytest.mark.parametrize("dtype", Attention.contract.dtypes)
def test_keeps_the_laws(dtype: str) -> None:
    keeps_the_laws(Attention(), dtype, laws=(*NAMES, "a_bool_mask_is_a_float_mask", "gqa_equals_expanded_mha"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool])
def test_the_same_numbers_there_and_back(dtype: torch.dtype) -> None:
    """At other strides too."""
    x = torch.tensor([[0.1, -torch.inf], [3.0, 0.0], [1e-7, 65504.0]]).to(dtype).T
    assert torch.equal(from_mlx(to_mlx(x), dtype), x)
