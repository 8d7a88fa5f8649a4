"""Where the elements of each tensor lie: contiguous, cut from a fused buffer, transposed, or every other number."""

from __future__ import annotations

from typing import Any

import numpy as np

from verification.problem import Problem
from verification.tensors.arena import ArenaPlan, Span, contiguous_strides
from verification.tensors.inputs import POISON_BYTE, Inputs

INDEX_NAMES = ("cu_seqlens_q", "cu_seqlens_k", "slot_mapping", "context_lens", "block_tables")
SCORING_NAMES = ("mask", "sinks")
_LENGTHS = {
    "prefill": ("cu_seqlens_q", "cu_seqlens_k"),
    "decode": ("context_lens", "block_tables"),
    "chunked": ("cu_seqlens_q", "context_lens", "block_tables"),
}
TENSOR_NAMES = ("q", "k", "v", "k_cache", "v_cache", *INDEX_NAMES, *SCORING_NAMES)


def plan_arena(inputs: Inputs) -> ArenaPlan:
    """Lay out every tensor of the call as its problem says."""
    problem, plan = inputs.problem, ArenaPlan()
    key_poison, value_poison = (POISON_BYTE[name] for name in problem.poison)
    poisons = {"q": key_poison, "k": key_poison, "v": value_poison}
    if problem.layout == "fused":
        _cut_heads(plan, inputs, ("q", "k", "v") if len(inputs.q) == len(inputs.k) else ("k", "v"), key_poison)
    for name in ("q", "k", "v"):
        if name not in plan.spans:
            array = getattr(inputs, name)
            _place(plan, name, array.shape, array.dtype, poisons[name], problem.layout)
    if problem.num_blocks and problem.cache_layout == "interleaved":
        _interleave(plan, inputs.k_cache.shape, inputs.k_cache.dtype, key_poison)
    elif problem.num_blocks:
        for name, poison in (("k_cache", key_poison), ("v_cache", value_poison)):
            _place(plan, name, inputs.k_cache.shape, inputs.k_cache.dtype, poison, problem.cache_layout)
    for name in used_names(problem):
        if name in (*INDEX_NAMES, *SCORING_NAMES):
            array = getattr(inputs, name)
            _place(plan, name, array.shape, array.dtype, key_poison, "contiguous")
    return plan


def used_names(problem: Problem) -> tuple[str, ...]:
    """The tensors that a call of this kind is given."""
    caches = ("k_cache", "v_cache", "slot_mapping") if problem.num_blocks else ()
    lengths = _LENGTHS[problem.phase]
    scoring = [name for name in SCORING_NAMES if getattr(problem.scoring, name)]
    return ("q", "k", "v", *caches, *lengths, *scoring)


def _place(plan: ArenaPlan, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], poison: int, layout: str) -> None:
    stored, axes = shape, tuple(range(len(shape)))
    if layout == "transposed":  # heads outside tokens: [H, T, D], and [N, G, S, D] for a cache
        axes = (*axes[:-3], axes[-2], axes[-3], axes[-1])
        stored = tuple(shape[axis] for axis in axes)
    elif layout == "strided":  # every other number: the innermost stride is 2
        stored = (*shape, 2)
    strides = contiguous_strides(stored, dtype.itemsize)
    strides = tuple(strides[axis] for axis in axes)
    plan.spans[name] = Span(plan.reserve(stored, dtype, poison), shape, strides, dtype)


def _cut_heads(plan: ArenaPlan, inputs: Inputs, names: tuple[str, ...], poison: int) -> None:
    """``names`` as head ranges of one ``[T, heads, D]``, the way a fused projection leaves them."""
    arrays = [getattr(inputs, name) for name in names]
    tokens, _, head_dim = arrays[0].shape
    fused = (tokens, sum(array.shape[1] for array in arrays), head_dim)
    dtype = arrays[0].dtype
    offset, strides = plan.reserve(fused, dtype, poison), contiguous_strides(fused, dtype.itemsize)
    for name, array in zip(names, arrays, strict=True):
        plan.spans[name] = Span(offset, array.shape, strides, dtype)
        offset += array.shape[1] * strides[1]


def _interleave(plan: ArenaPlan, shape: tuple[int, ...], dtype: np.dtype[Any], poison: int) -> None:
    """Both caches in one ``[N, 2, S, G, D]``, as vLLM keeps them."""
    both = (shape[0], 2, *shape[1:])
    offset, strides = plan.reserve(both, dtype, poison), contiguous_strides(both, dtype.itemsize)
    for i, name in enumerate(("k_cache", "v_cache")):
        plan.spans[name] = Span(offset + i * strides[1], shape, (strides[0], *strides[2:]), dtype)
