"""Bugs planted in attn_core, one small function each: the matching law finds each, and a problem small enough to read.

The honest module passes the same laws from the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from attn_core import attention, cache, eager, masks
from properties.laws import LAWS
from properties.run.round import Broken, fuzz
from tests.properties.wrapped import HONEST
from verification.problem import Problem
from verification.records.results import CellResult

SEED, EXAMPLES, HONEST_EXAMPLES = 11, 500, 200
BY_NAME = {law.name: law for law in LAWS}


def one_future(num_queries: int, num_keys: int, alignment: Any = "top_left", device: Any = None) -> Tensor:
    """Each query sees one key too many."""
    wide = masks.causal_mask(num_queries, num_keys + 1, "top_left", device)
    offset = num_keys - num_queries if alignment == "bottom_right" else 0
    return wide[:, :num_keys].triu(diagonal=2 + offset)


def always_top_left(num_queries: int, num_keys: int, alignment: Any = "top_left", device: Any = None) -> Tensor:  # noqa: ARG001
    """Whatever was asked for."""
    return masks.causal_mask(num_queries, num_keys, "top_left", device)


def wrapping_slots(slots: Tensor, num_slots: int) -> Tensor:
    """Python's negative indices reach the cache, padding included."""
    return (slots >= -num_slots) & (slots < num_slots)


def first_writer(slots: Tensor) -> Tensor:
    """The first of equal slots wins."""
    ordered, writers = slots.sort(stable=True)
    return writers[torch.searchsorted(ordered, slots)]


def sliding_blocks(table: Tensor, context_len: int, block_size: int, num_blocks: int) -> tuple[Tensor, Tensor]:
    """Blocks that are not in the cache are dropped and later ones slide forward."""
    kept = table[(table >= 0) & (table < num_blocks)]
    return _positions(kept, context_len, block_size, num_blocks)


def whole_blocks(table: Tensor, context_len: int, block_size: int, num_blocks: int) -> tuple[Tensor, Tensor]:
    """The tail of the last block is attended to."""
    return _positions(table, -(-context_len // block_size) * block_size, block_size, num_blocks)


def tiled_heads(x: Tensor, n_rep: int, max_heads: int = 32) -> Tensor:  # noqa: ARG001
    """Head h reads kv head h % G."""
    return x.repeat(1, n_rep, 1)


def scaled(factor: Callable[[float], float]) -> Callable[[Tensor, Tensor, float], Tensor]:
    """Scores with another scale."""
    return lambda q, k, scale: torch.matmul(q, k.transpose(-1, -2)) * factor(scale)


def one_sided(x: Tensor, name: str) -> Tensor:
    """Very negative numbers are nothing to warn of."""
    tame = not x.numel() or bool(x.max() <= 1e4 and x.isfinite().all())
    return x if tame else _check(x, name)


# The originals, for the faults that call them.
_positions, _check = eager.visible_positions, attention.check_numeric_range


@dataclass(frozen=True)
class Fault:
    """``module.name`` is replaced; ``law`` should find it. ``heads`` is what it takes to show.

    One that shows only where rounding, or the place of a slot, happens to fall well is found every time, and is small
    at the best of several ``seeds``.
    """

    module: Any
    name: str
    replacement: Callable[..., Any]
    law: str
    heads: tuple[int, int] = (1, 1)
    seeds: tuple[int, ...] = (SEED,)


FAULTS = {
    "mask: diagonal one too far": Fault(attention, "causal_mask", one_future, "agrees_with_reference"),
    "mask: the future matters": Fault(attention, "causal_mask", one_future, "the_future_does_not_matter"),
    "mask: always top-left": Fault(attention, "causal_mask", always_top_left, "agrees_with_reference"),
    "slots: negative ones wrap": Fault(cache, "valid_slots", wrapping_slots, "cache_is_exact"),
    "slots: the first wins": Fault(cache, "last_writer", first_writer, "cache_is_exact", seeds=(SEED, 1, 2)),
    "table: later blocks slide": Fault(eager, "visible_positions", sliding_blocks, "agrees_with_reference"),
    "table: the tail is read": Fault(eager, "visible_positions", whole_blocks, "poison_is_invisible"),
    "GQA: heads tiled": Fault(attention, "repeat_kv", tiled_heads, "gqa_equals_expanded_mha", heads=(4, 2)),
    "scale: off by a thousandth": Fault(
        eager, "attention_scores", scaled(lambda s: s * 1.001), "agrees_with_reference", seeds=(SEED, 2, 3)
    ),
    "scale: twice": Fault(eager, "attention_scores", scaled(lambda s: s * s), "agrees_with_reference"),
    "range: one-sided": Fault(attention, "check_numeric_range", one_sided, "logs_what_is_owed"),
}
EVERY = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


def run(law: str, seed: int, examples: int = EXAMPLES) -> tuple[CellResult, Broken | None]:
    """One law on float16."""
    result, broken, _ = fuzz(BY_NAME[law], HONEST, "float16", seed, examples)
    return result, broken


def tokens(problem: Problem) -> int:
    """Queries and keys of a prefill; what the contexts of a decode hold."""
    return sum(problem.key_lens) + (sum(problem.query_lens) if problem.phase == "prefill" else 0)


@EVERY
def test_found_and_small(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within five hundred problems, and reduced to at most four tokens, the fewest heads and one or two dims."""
    monkeypatch.setattr(fault.module, fault.name, fault.replacement)
    found = [run(fault.law, seed) for seed in fault.seeds]
    problems = [broken.problem for _, broken in found if broken is not None]
    assert len(problems) == len(found)
    smallest = min(problems, key=lambda p: (tokens(p), p.num_heads, p.head_dim))
    assert tokens(smallest) <= 4
    assert (smallest.num_heads, smallest.num_kv_heads) == fault.heads
    assert smallest.head_dim <= 2


@pytest.mark.parametrize("law", sorted({fault.law for fault in FAULTS.values()}))
def test_the_honest_module_passes(law: str) -> None:
    """The same law from the same seed."""
    result, broken = run(law, SEED, HONEST_EXAMPLES)
    assert broken is None
    assert result.problems == HONEST_EXAMPLES
    assert result.verified > 0.2 * HONEST_EXAMPLES
