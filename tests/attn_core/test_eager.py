"""The steps of the eager implementation, one by one."""

from __future__ import annotations

from math import exp, inf, isnan, nan

import pytest
import torch
from torch import Tensor

from attn_core import eager
from tests.attn_core.calls import DTYPES
from tests.attn_core.float32 import FASTER, exact_on_the_cpu, faster_products, product_precisions

HIDDEN = torch.tensor([[False, True, True], [False, False, True], [True, True, True]])


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ((torch.float16,), torch.float32),
        ((torch.bfloat16,), torch.float32),
        ((torch.float32,), torch.float32),
        ((torch.float64,), torch.float64),
        ((torch.float16, torch.float64), torch.float64),
        ((torch.bfloat16, torch.float16), torch.float32),
    ],
)
def test_accumulation_dtype(dtypes: tuple[torch.dtype, ...], expected: torch.dtype) -> None:
    """float64 where anything is float64, float32 for all else."""
    assert eager.accumulation_dtype(*dtypes) == expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_widen_is_an_exact_fresh_contiguous_copy(dtype: torch.dtype) -> None:
    """The input is never written to, whatever its strides."""
    x = torch.randn(2, 3, 4).to(dtype).transpose(0, 1)
    wide = eager.widen(x, torch.float64)
    assert wide.tolist() == x.tolist()
    assert wide.is_contiguous()
    wide.zero_()
    assert x.all()


def test_scores_are_scaled_products() -> None:
    """[H, Lq, Lk], the scale applied after the product."""
    q, k = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0], [5.0, -6.0]]])
    assert eager.attention_scores(q, k, 0.5).tolist() == [[[5.5, -3.5]]]


def test_weights_are_the_softmax_over_visible_keys() -> None:
    """Exactly 0 for hidden keys, also in a row that sees nothing."""
    scores = torch.tensor([[[1.0, 50.0, 50.0], [1.0, 2.0, 50.0], [1.0, 2.0, 3.0]]])
    weights = eager.attention_weights(scores, HIDDEN)[0]
    assert weights[0].tolist() == [1.0, 0.0, 0.0]
    assert weights[1].tolist() == pytest.approx([1 / (1 + exp(1)), 1 / (1 + exp(-1)), 0.0], rel=1e-6, abs=0.0)
    assert weights[2].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("poison", [nan, inf, -inf])
def test_weights_do_not_see_hidden_scores(poison: float) -> None:
    """NaN + -inf is NaN: the mask must not be arithmetic."""
    scores = torch.tensor([[[1.0, poison, poison], [1.0, 2.0, poison], [poison, poison, poison]]])
    clean = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]])
    assert eager.attention_weights(scores, HIDDEN).equal(eager.attention_weights(clean, HIDDEN))


def test_weights_of_very_low_scores_stay_apart_from_the_mask() -> None:
    """A finite penalty would let hidden keys win here: -inf must be what the softmax reads."""
    scores = torch.full((1, 3, 3), torch.finfo(torch.float32).min)
    assert eager.attention_weights(scores, HIDDEN)[0].tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]


def test_weights_leave_the_scores_alone() -> None:
    """They were range-checked, and the check is read when the forward ends."""
    scores = torch.ones(1, 3, 3)
    eager.attention_weights(scores, HIDDEN)
    assert scores.equal(torch.ones(1, 3, 3))


def _mix(values: list[float], hidden: Tensor | None = HIDDEN) -> list[float]:
    """One head of dimension 1; every query weighs what it sees evenly."""
    weights = eager.attention_weights(torch.zeros(1, 3, 3), hidden)
    return eager.weighted_values(weights, torch.tensor(values).reshape(1, 3, 1), hidden).flatten().tolist()


@pytest.mark.parametrize("poison", [nan, inf, -inf])
def test_hidden_values_have_no_part(poison: float) -> None:
    """0 * NaN is NaN and 0 * Inf is NaN: a zero weight is not enough."""
    assert _mix([2.0, 4.0, poison]) == [2.0, 3.0, 0.0]


@pytest.mark.parametrize(
    ("poison", "expected"), [([nan, nan], nan), ([inf, 1.0], inf), ([-inf, 1.0], -inf), ([inf, -inf], nan)]
)
def test_visible_ones_do(poison: list[float], expected: float) -> None:
    """They arrive as what the exact sum would be."""
    seen = _mix([*poison, 0.0])[1]
    assert seen == expected or (isnan(seen) and isnan(expected))


def test_without_a_mask_every_value_counts() -> None:
    """The decode has no hidden keys."""
    assert _mix([3.0, 6.0, 9.0], None) == pytest.approx([6.0, 6.0, 6.0])


@pytest.mark.parametrize(
    ("table", "context_len", "expected"),
    [
        ([2, 0], 0, []),
        ([2, 0], 3, [(2, 0), (2, 1), (2, 2)]),
        ([2, 0], 4, [(2, 0), (2, 1), (2, 2), (0, 0)]),
        ([2, 99], 3, [(2, 0), (2, 1), (2, 2)]),  # the entry beyond is not read
        ([-1, 1], 5, [(1, 0), (1, 1)]),  # a hole, and nothing slides
        ([2, 3, 1], 8, [(2, 0), (2, 1), (2, 2), (1, 0), (1, 1)]),  # 3 is not in [0, 3)
        ([-2, -3], 6, []),
        ([2], 99, [(2, 0), (2, 1), (2, 2)]),  # the table ends before the context
        ([], 4, []),
        ([2**40, -(2**63), 0], 7, [(0, 0)]),
    ],
)
def test_visible_positions(table: list[int], context_len: int, expected: list[tuple[int, int]]) -> None:
    """Position t is column t // 3, offset t % 3, of a cache of three blocks; order is kept."""
    block, offset = eager.visible_positions(torch.tensor(table, dtype=torch.int64), context_len, 3, 3)
    assert list(zip(block.tolist(), offset.tolist(), strict=True)) == expected


def _fail_in_full_precision() -> None:
    with torch.autocast("cpu", torch.bfloat16), eager.full_precision("cpu"):
        assert exact_on_the_cpu()
        assert not torch.is_autocast_enabled("cpu")
        raise KeyError("engine")


@FASTER
def test_full_precision_is_full_inside_and_what_it_was_outside(how: str) -> None:
    """Neither TF32 nor bf16 products nor autocast, and the process keeps its own choice, errors or not."""
    with faster_products(how):
        before = product_precisions()
        with pytest.raises(KeyError, match="engine"):
            _fail_in_full_precision()
        assert product_precisions() == before
