"""One changed byte, anywhere, is seen, and the tensor that it hit is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from properties.generate.strategies import problems
from tests.properties.generated import over
from tests.verification.samples import DECODE, PREFILL
from tests.verification.spans import offsets, owners
from verification.oracle.judge import Violation, judge_memory
from verification.problem import Problem
from verification.problem.table import CACHES, TENSORS
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import Arena, materialize

TENSOR_NAMES = tuple(TENSORS)


def arena_of(problem: Problem, **changes: object) -> Arena:
    """Handed over and not yet called with."""
    return materialize(make_inputs(replace(problem, **changes)), "cpu")  # type: ignore[arg-type]


def flipped(arena: Arena, offset: int) -> np.ndarray:
    """The arena with one bit turned."""
    memory = arena.before.copy()
    memory[offset] ^= 1
    return memory


def judge(arena: Arena, offset: int, names: tuple[str, ...]) -> None:
    """As a law does."""
    judge_memory(flipped(arena, offset), arena.before, arena.spans, names)


@pytest.mark.parametrize("layout", ["contiguous", "fused", "transposed", "strided"])
@pytest.mark.parametrize("cache_layout", ["contiguous", "interleaved", "transposed"])
@pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
def test_every_byte_has_one_guardian(problem: Problem, layout: str, cache_layout: str) -> None:
    """A tensor's bytes are its own law's; all others are the guards'."""
    arena = arena_of(problem, layout=layout, cache_layout=cache_layout)
    rng = np.random.default_rng(0)
    owned = {name: offsets(span) for name, span in arena.spans.items() if span.size}
    for name, bytes_ in owned.items():
        for offset in (bytes_[0], bytes_[-1], int(rng.choice(bytes_))):
            judge(arena, offset, ())
            judge(arena, offset, tuple(other for other in TENSOR_NAMES if other != name))
            with pytest.raises(Violation, match=rf"^{name}\["):
                judge(arena, offset, TENSOR_NAMES)
    nobodys = np.flatnonzero(owners(arena.spans, len(arena.before)) == 0)
    for offset in (nobodys[0], nobodys[-1], *rng.choice(nobodys, 40)):
        judge(arena, int(offset), TENSOR_NAMES)
        with pytest.raises(Violation, match="guard"):
            judge(arena, int(offset), ())


def test_a_gap_of_a_strided_tensor_is_a_guard() -> None:
    """The number between two numbers."""
    arena = arena_of(PREFILL, layout="strided")
    with pytest.raises(Violation, match="behind the start of k"):
        judge(arena, arena.spans["k"].offset + 2, ())


def test_guards_before_and_after_are_named_by_their_tensor() -> None:
    """The byte before the first tensor, and those around another."""
    arena = arena_of(PREFILL)
    cache = arena.spans["k_cache"]
    for offset, near in ((0, "the first tensor"), (cache.offset - 1, "v$"), (cache.offset + cache.size, "k_cache$")):
        with pytest.raises(Violation, match=f"the start of {near}" if near != "the first tensor" else near):
            judge(arena, offset, ())


def test_the_change_is_shown() -> None:
    """Which block or row, what it holds and what it should."""
    arena = arena_of(PREFILL, cache_layout="interleaved")
    found = arena.before.copy()
    arena.spans["v_cache"].on_host(found)[2] = 5
    with pytest.raises(Violation, match=r"v_cache\[2\] holds \[5\.0, 5\.0, 5\.0, 5\.0\]\.\.\., .*\(1 rows differ\)"):
        judge_memory(found, arena.before, arena.spans, CACHES)


def test_nan_payloads_are_bytes_too() -> None:
    """Memory is compared byte by byte: a cache must keep what it holds."""
    arena = arena_of(PREFILL, poison=("nan", "nan"))
    with pytest.raises(Violation, match=r"k_cache\[0\]"):
        judge(arena, arena.spans["k_cache"].offset, CACHES)


def test_unchanged_memory_is_right() -> None:
    """For every law."""
    arena = arena_of(DECODE)
    for names in (TENSOR_NAMES, CACHES, ()):
        judge_memory(arena.before.copy(), arena.before, arena.spans, names)


def has_no_empty_tensor(problem: Problem) -> bool:
    """Of those that share a buffer with another."""
    return bool(problem.num_queries and problem.num_new_keys and problem.num_blocks)


@over(150, problems("float16").filter(has_no_empty_tensor))
def test_any_stray_write_is_seen(problem: Problem) -> None:
    """On generated problems: a random byte changes, and exactly one law breaks."""
    arena = materialize(make_inputs(problem), "cpu")
    offset = int(np.random.default_rng(problem.seed).integers(len(arena.before)))
    broken = 0
    for names in (CACHES, (), tuple(name for name in TENSOR_NAMES if name not in CACHES)):
        try:
            judge(arena, offset, names)
        except Violation:
            broken += 1
    assert broken == 1
