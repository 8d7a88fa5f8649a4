"""Tensors hold the problem's numbers bit for bit, wherever they lie, and nothing but them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch

from properties.generate.strategies import problems, problems_within
from tests.properties.generated import over
from tests.verification.samples import DECODE, PREFILL
from tests.verification.spans import owners
from verification.adapters.written import EVERYTHING
from verification.backends.observe import to_numpy
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.problem import CacheLayout, Layout
from verification.problem.table import TENSORS
from verification.tensors.inputs import POISON_BYTE, make_inputs
from verification.tensors.materialize import Arena, materialize

NOT_USED = {"prefill": {"context_lens", "block_tables"}, "decode": {"cu_seqlens_q", "cu_seqlens_k"}}
EVERY = list(product((PREFILL, DECODE), FORMATS, get_args(Layout), get_args(CacheLayout), ("int32", "int64")))


def assert_holds(arena: Arena, problem: Problem) -> None:
    """Every tensor that the phase uses, with its shape, its type and its bits."""
    missing = NOT_USED[problem.phase] | (set() if problem.num_blocks else {"k_cache", "v_cache", "slot_mapping"})
    missing |= {name for name in ("mask", "sinks") if not getattr(problem.scoring, name)}
    for name in TENSORS:
        tensor, array = getattr(arena.tensors, name), getattr(arena.inputs, name)
        assert (tensor is None) == (name in missing)
        if tensor is not None:
            assert tensor.shape == array.shape
            assert to_numpy(tensor).tobytes() == array.tobytes()
            in_arena = tensor.untyped_storage().data_ptr() == arena.tensors.arena.untyped_storage().data_ptr()
            assert in_arena or not tensor.numel()


@pytest.mark.parametrize(("problem", "dtype", "layout", "cache_layout", "index_dtype"), EVERY)
def test_values_read_back(problem: Problem, dtype: str, layout: str, cache_layout: str, index_dtype: str) -> None:
    """For every layout, cache layout, dtype and index dtype."""
    changes = {"dtype": dtype, "layout": layout, "cache_layout": cache_layout, "index_dtype": index_dtype}
    problem = replace(problem, **changes, poison=("nan", "large"))
    arena = materialize(make_inputs(problem), "cpu")
    tensors = arena.tensors
    assert tensors.q.dtype == tensors.k_cache.dtype == FORMATS[dtype].torch
    assert tensors.slot_mapping.dtype == getattr(torch, index_dtype)
    assert_holds(arena, problem)


@over(150, problems("bfloat16"))
def test_generated_problems_read_back(problem: Problem) -> None:
    """Empty tensors, no cache and narrow caches included."""
    assert_holds(materialize(make_inputs(problem), "cpu"), problem)


@over(150, problems_within(EVERYTHING, "bfloat16"))
def test_masks_and_sinks_read_back(problem: Problem) -> None:
    """In every shape that broadcasts."""
    assert_holds(materialize(make_inputs(problem), "cpu"), problem)


@pytest.mark.parametrize("kind", POISON_BYTE)
def test_what_belongs_to_nobody_is_poison(kind: str) -> None:
    """Byte by byte, on the device."""
    problem = replace(PREFILL, layout="strided", cache_layout="interleaved", poison=(kind, kind))
    arena = materialize(make_inputs(problem), "cpu")
    memory = arena.tensors.arena.numpy()
    nobodys = memory[owners(arena.spans, len(memory)) == 0]
    assert len(nobodys) > 256 * len(TENSORS)
    assert set(nobodys.tolist()) == {POISON_BYTE[kind]}


def test_before_is_a_copy_of_the_arena() -> None:
    """What the call writes does not reach it."""
    arena = materialize(make_inputs(PREFILL), "cpu")
    assert np.array_equal(arena.before, arena.tensors.arena.numpy())
    arena.tensors.q.zero_()
    assert not np.array_equal(arena.before, arena.tensors.arena.numpy())


def test_each_call_has_memory_of_its_own() -> None:
    """Two observations share nothing, nor do tensors and inputs."""
    inputs = make_inputs(PREFILL)
    first, second = (materialize(inputs, "cpu").tensors for _ in range(2))
    first.q.zero_()
    assert second.q.abs().sum() > 0
    assert np.abs(inputs.q).sum() > 0


@pytest.mark.usefixtures("cuda_device")
@over(50, problems("float16"))
def test_the_device_holds_the_same_bytes(problem: Problem) -> None:
    """One copy of the whole arena."""
    arena = materialize(make_inputs(problem), "cuda")
    assert np.array_equal(arena.tensors.arena.cpu().numpy(), arena.before)
    assert_holds(arena, problem)
