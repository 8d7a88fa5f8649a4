"""Layouts of the tensors in the arena: contiguous, cut from a fused buffer, transposed, or every other number."""

from __future__ import annotations

from verification.problem.table import CACHES, TENSORS, TOKENS, given_to
from verification.tensors.arena import ArenaPlan, Span, contiguous_strides
from verification.tensors.inputs import POISON_BYTE, Inputs, poison_around


def plan_arena(inputs: Inputs) -> ArenaPlan:
    """Return a plan with every tensor of the call, laid out as its problem says."""
    problem, plan = inputs.problem, ArenaPlan()
    if problem.layout == "fused":
        _cut_heads(plan, inputs, fused_names(inputs))
    layouts = {"cache": problem.cache_layout} | dict.fromkeys(("query", "key", "value"), problem.layout)
    for name in given_to(problem):
        layout = layouts.get(TENSORS[name].role, "contiguous")
        if name in plan.spans:
            continue
        if layout == "interleaved":
            _interleave(plan, inputs)
        else:
            _place(plan, inputs, name, layout)
    return plan


def fused_names(inputs: Inputs) -> tuple[str, ...]:
    """Return the names that a fused projection leaves in one tensor: k and v, and q if it has equally many tokens."""
    return TOKENS if len(inputs.q) == len(inputs.k) else tuple(n for n in TOKENS if TENSORS[n].role != "query")


def _poison_byte(inputs: Inputs, name: str) -> int:
    return POISON_BYTE[poison_around(inputs.problem, name)]


def _place(plan: ArenaPlan, inputs: Inputs, name: str, layout: str) -> None:
    array = getattr(inputs, name)
    shape, dtype, poison = array.shape, array.dtype, _poison_byte(inputs, name)
    stored, axes = shape, tuple(range(len(shape)))
    if layout == "transposed":  # heads outside tokens: [H, T, D], and [N, G, S, D] for a cache
        axes = (*axes[:-3], axes[-2], axes[-3], axes[-1])
        stored = tuple(shape[axis] for axis in axes)
    elif layout == "strided":  # every other number: the innermost stride is 2
        stored = (*shape, 2)
    strides = contiguous_strides(stored, dtype.itemsize)
    strides = tuple(strides[axis] for axis in axes)
    plan.spans[name] = Span(plan.reserve(stored, dtype, poison), shape, strides, dtype)


def _cut_heads(plan: ArenaPlan, inputs: Inputs, names: tuple[str, ...]) -> None:
    """Lay ``names`` out as head ranges of one ``[T, heads, D]``, the way a fused projection leaves them."""
    arrays = [getattr(inputs, name) for name in names]
    tokens, _, head_dim = arrays[0].shape
    fused = (tokens, sum(array.shape[1] for array in arrays), head_dim)
    dtype = arrays[0].dtype
    offset, strides = plan.reserve(fused, dtype, _poison_byte(inputs, "k")), contiguous_strides(fused, dtype.itemsize)
    for name, array in zip(names, arrays, strict=True):
        plan.spans[name] = Span(offset, array.shape, strides, dtype)
        offset += array.shape[1] * strides[1]


def _interleave(plan: ArenaPlan, inputs: Inputs) -> None:
    """Lay both caches out in one ``[N, 2, S, G, D]``, as vLLM keeps them."""
    shape, dtype = inputs.k_cache.shape, inputs.k_cache.dtype
    both = (shape[0], len(CACHES), *shape[1:])
    offset, strides = (
        plan.reserve(both, dtype, _poison_byte(inputs, CACHES[0])),
        contiguous_strides(both, dtype.itemsize),
    )
    for i, name in enumerate(CACHES):
        plan.spans[name] = Span(offset + i * strides[1], shape, (strides[0], *strides[2:]), dtype)
