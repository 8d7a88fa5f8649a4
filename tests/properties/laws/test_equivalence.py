"""Laws that equate two questions: each sees a backend that answers one of them differently."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.laws.equivalence import (
    chunks_equal_one_shot,
    decode_is_the_last_row_of_prefill,
    gqa_equals_expanded_mha,
    values_scale_exactly,
    wider_dtypes_agree,
)
from properties.laws.law import OutsideLaw
from tests.properties.wrapped import HONEST, LOOSE, Wrapped, nudged_where
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.oracle.judge import Violation
from verification.problem import Problem

BOTH = pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])


@BOTH
def test_gqa(problem: Problem) -> None:
    """Grouped heads answer as expanded ones do, to the bit where that is claimed and within the bound elsewhere."""
    grouped = nudged_where(lambda tensors: tensors.k.shape[1] < tensors.q.shape[1])
    gqa_equals_expanded_mha(HONEST, problem)
    gqa_equals_expanded_mha(Wrapped(contract=LOOSE), problem)
    for backend in (grouped, replace(grouped, contract=LOOSE)):
        with pytest.raises(Violation):
            gqa_equals_expanded_mha(backend, problem)
    with pytest.raises(OutsideLaw):
        gqa_equals_expanded_mha(HONEST, replace(problem, num_kv_heads=2))


@pytest.mark.parametrize("contexts", [(3, 2), (0, 1), (3, 0)])
def test_decode_and_prefill(contexts: tuple[int, int]) -> None:
    """The last row of a prefill over what the cache shows."""
    problem = replace(DECODE, key_lens=contexts)
    decode_is_the_last_row_of_prefill(HONEST, problem)
    with pytest.raises(Violation):
        decode_is_the_last_row_of_prefill(nudged_where(lambda tensors: tensors.block_tables is not None), problem)


def test_who_only_decodes_has_no_prefill_to_agree_with() -> None:
    """Such a backend is not asked for one."""
    decodes = Wrapped(contract=replace(HONEST.contract, phases=("decode",)))
    with pytest.raises(OutsideLaw):
        decode_is_the_last_row_of_prefill(decodes, DECODE)


def test_decode_and_prefill_agree_on_masked_blocks() -> None:
    """Blocks that are not in the cache are in neither."""
    problem = replace(DECODE, block_tables=((-1, 0), (1, 99)), slot_mapping=(-1, 3))
    decode_is_the_last_row_of_prefill(HONEST, problem)


def test_chunks() -> None:
    """A chunk of the queries answers as all of them at once."""
    problem = replace(PREFILL, key_lens=(6, 5), slot_mapping=(-1,) * 11)
    chunks_equal_one_shot(HONEST, problem)
    chunked = nudged_where(lambda tensors: len(tensors.q) < len(tensors.k))
    with pytest.raises(Violation):
        chunks_equal_one_shot(chunked, problem)


@BOTH
def test_values_scale(problem: Problem) -> None:
    """By a power of two, to the bit; a backend that does not claim it is not asked."""
    values_scale_exactly(HONEST, problem)
    with pytest.raises(Violation, match="values times"):
        values_scale_exactly(Wrapped(lambda _, output: output + 0.25), problem)
    with pytest.raises(OutsideLaw):
        values_scale_exactly(Wrapped(contract=LOOSE), problem)


@pytest.mark.parametrize("values", ["zeros", "tiny"])
def test_values_that_leave_the_normal_range_are_not_compared(values: str) -> None:
    """Subnormals do not scale exactly."""
    with pytest.raises(OutsideLaw):
        values_scale_exactly(HONEST, one_head(keys=2, value_fill=values))


@BOTH
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_wider_dtypes(problem: Problem, dtype: str) -> None:
    """A backend that is off in one of them."""
    problem = replace(problem, dtype=dtype)
    wider_dtypes_agree(HONEST, problem)
    with pytest.raises(Violation, match="more than both may be off"):
        wider_dtypes_agree(nudged_where(lambda tensors: str(tensors.q.dtype) == f"torch.{dtype}"), problem)
    with pytest.raises(OutsideLaw):
        wider_dtypes_agree(Wrapped(contract=replace(HONEST.contract, dtypes=(dtype,))), problem)


def test_no_dtype_is_wider() -> None:
    """Than float64; and a cache of another dtype has no wider one of its own."""
    for problem in (replace(PREFILL, dtype="float64"), replace(DECODE, dtype="float32", cache_dtype="float16")):
        with pytest.raises(OutsideLaw):
            wider_dtypes_agree(HONEST, problem)
