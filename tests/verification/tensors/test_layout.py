"""Where elements lie, for every layout: who owns which byte, and what is strided how."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import get_args

import numpy as np
import pytest

from tests.verification.samples import DECODE, PREFILL
from tests.verification.spans import offsets, owners
from verification.problem import Problem
from verification.problem.problem import CacheLayout, Layout
from verification.problem.table import INDICES, TENSORS
from verification.tensors.arena import Span
from verification.tensors.inputs import POISON_BYTE, make_inputs
from verification.tensors.layout import plan_arena

LAYOUTS = list(product((PREFILL, DECODE), get_args(Layout), get_args(CacheLayout)))
EVERY = pytest.mark.parametrize(("problem", "layout", "cache_layout"), LAYOUTS)


def spans_of(problem: Problem, layout: str, cache_layout: str) -> dict[str, Span]:
    """Of a problem laid out so."""
    return plan_arena(make_inputs(replace(problem, layout=layout, cache_layout=cache_layout))).spans  # type: ignore[arg-type]


@EVERY
def test_no_byte_has_two_owners(problem: Problem, layout: str, cache_layout: str) -> None:
    """Fused and interleaved tensors share a buffer, and no byte of it."""
    spans = spans_of(problem, layout, cache_layout)
    of_the_other_phase = {"prefill": {"context_lens", "block_tables"}, "decode": {"cu_seqlens_q", "cu_seqlens_k"}}
    assert set(spans) == set(TENSORS) - {"mask", "sinks"} - of_the_other_phase[problem.phase]
    assert owners(spans, 1 << 14).max() == 1


@EVERY
def test_guards_are_256_bytes_of_poison(problem: Problem, layout: str, cache_layout: str) -> None:
    """Before and after each buffer; a gap inside one is poison as well."""
    inputs = make_inputs(replace(problem, layout=layout, cache_layout=cache_layout, poison=("nan", "large")))  # type: ignore[arg-type]
    plan = plan_arena(inputs)
    _, view = plan.fill()
    assert set(view.tolist()) <= {POISON_BYTE["nan"], POISON_BYTE["large"]}
    owned = owners(plan.spans, len(view)) > 0
    buffers = {"q": ("q", "k", "v") if layout == "fused" else ("q",), "k_cache": ("k_cache", "v_cache")}
    for name, family in buffers.items():
        start = plan.spans[name].offset
        assert start % 256 == 0
        assert not owned[start - 256 : start].any()
        end = max(plan.spans[other].offset + plan.spans[other].size for other in family)
        assert not owned[end : end + 256].any()
    for name in set(INDICES) & set(plan.spans):
        assert plan.spans[name].offset % 256 == 0


def elements(span: Span) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(stride // span.dtype.itemsize for stride in span.strides)


def test_contiguous() -> None:
    """Row-major."""
    spans = spans_of(PREFILL, "contiguous", "contiguous")
    assert elements(spans["q"]) == (8, 4, 1)
    assert elements(spans["k"]) == (4, 4, 1)
    assert elements(spans["k_cache"]) == (8, 4, 4, 1)


def test_fused_cuts_heads_from_one_buffer() -> None:
    """q, k, v side by side in each token where there are as many queries as keys; else k and v."""
    spans = spans_of(DECODE, "fused", "contiguous")
    assert elements(spans["q"]) == elements(spans["k"]) == elements(spans["v"]) == (16, 4, 1)
    assert spans["k"].offset - spans["q"].offset == 2 * 4 * 2
    assert spans["v"].offset - spans["k"].offset == 4 * 2
    ragged = spans_of(PREFILL, "fused", "contiguous")
    assert elements(ragged["q"]) == (8, 4, 1)
    assert elements(ragged["k"]) == (8, 4, 1)
    assert ragged["v"].offset - ragged["k"].offset == 4 * 2


def test_transposed_keeps_heads_outside_tokens() -> None:
    """[H, T, D] and [N, G, S, D]."""
    spans = spans_of(PREFILL, "transposed", "transposed")
    assert elements(spans["q"]) == (4, 4 * 4, 1)
    assert elements(spans["k_cache"]) == (8, 4, 8, 1)
    two = replace(PREFILL, num_kv_heads=2)
    assert elements(spans_of(two, "contiguous", "transposed")["v_cache"]) == (16, 4, 8, 1)


def test_strided_uses_every_other_number() -> None:
    """What lies between belongs to nobody."""
    span = spans_of(PREFILL, "strided", "contiguous")["v"]
    assert elements(span) == (8, 8, 2)
    assert len(offsets(span)) == span.size // 2 + 1


def test_interleaved_caches_alternate_by_block() -> None:
    """[N, 2, S, G, D], as vLLM keeps them."""
    spans = spans_of(PREFILL, "contiguous", "interleaved")
    assert elements(spans["k_cache"]) == elements(spans["v_cache"]) == (16, 4, 4, 1)
    assert spans["v_cache"].offset - spans["k_cache"].offset == 8 * 2


def test_poisons_of_keys_and_values_stay_apart() -> None:
    """The bytes around v are v's."""
    plan = plan_arena(make_inputs(replace(PREFILL, layout="strided", poison=("nan", "zero"))))
    _, view = plan.fill()
    for name, poison in (("k", 0xFF), ("v", 0x00), ("k_cache", 0xFF), ("v_cache", 0x00), ("slot_mapping", 0xFF)):
        span = plan.spans[name]
        assert set(view[span.offset : span.offset + span.size + 256].tolist()) == {poison}
    assert isinstance(view, np.ndarray)
