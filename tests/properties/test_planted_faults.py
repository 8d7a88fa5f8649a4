"""Planted faults, each found by the law that forbids it, on a problem small enough to read.

The honest layer passes the same laws from the same seed.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from properties.laws import LAWS
from properties.run.round import Broken, fuzz
from tests.properties.wrapped import HONEST
from verification.backends.protocol import Backend
from verification.faults import FAULTS
from verification.problem import Problem
from verification.records.results import CellResult

SEED, EXAMPLES, HONEST_EXAMPLES = 11, 500, 200
MOST_TOKENS = 4
BY_NAME = {law.name: law for law in LAWS}


class Find(NamedTuple):
    """A law that must find a fault, and the smallest sizes on which the fault shows."""

    fault: str
    law: str
    heads: tuple[int, int] = (1, 1)
    head_dim: int = 1


FINDS = (
    Find("mask-one-future", "agrees_with_reference"),
    Find("mask-one-future", "the_future_does_not_matter"),
    Find("mask-top-left", "agrees_with_reference"),
    Find("slot-wraps", "cache_is_exact"),
    Find("slot-negative-wraps", "cache_is_exact"),
    Find("slot-first-wins", "cache_is_exact"),
    Find("table-slides", "agrees_with_reference"),
    Find("table-tail-read", "poison_is_invisible"),
    Find("gqa-tile", "gqa_equals_expanded_mha", heads=(4, 2)),
    # The scale of head_dim 1 is 1, and that of 2 is nearly a bfloat16: rounding moves it by 1e-4.
    Find("scale-bf16", "agrees_with_reference", head_dim=3),
    Find("scale-twice", "agrees_with_reference", head_dim=2),
    Find("log-one-sided", "logs_what_is_owed"),
)


def run(backend: Backend, law: str, examples: int) -> tuple[CellResult, Broken | None]:
    """Try one law in float16."""
    result, broken, _ = fuzz(BY_NAME[law], backend, "float16", SEED, examples)
    return result, broken


def tokens(problem: Problem) -> int:
    """Return the number of queries and keys of a prefill, or of the keys in a decode's contexts."""
    return sum(problem.key_lens) + (sum(problem.query_lens) if problem.phase == "prefill" else 0)


# These take the longest to be made small.
_LONG = ("table-slides", "scale-bf16", "scale-twice")
_EACH = [
    pytest.param(find, id=f"{find.fault}, {find.law}", marks=pytest.mark.slow if find.fault in _LONG else ())
    for find in FINDS
]


@pytest.mark.parametrize("find", _EACH)
def test_found_and_small(find: Find) -> None:
    """Within 500 problems, and reduced to at most 4 tokens and the smallest sizes on which it shows."""
    _, broken = run(FAULTS[find.fault].backend(), find.law, EXAMPLES)
    assert broken is not None
    smallest = broken.problem
    assert tokens(smallest) <= MOST_TOKENS
    assert ((smallest.num_heads, smallest.num_kv_heads), smallest.head_dim) == (find.heads, find.head_dim)


@pytest.mark.slow  # .ci/run asks the honest layer by every law
@pytest.mark.parametrize("law", sorted({find.law for find in FINDS}))
def test_the_honest_layer_passes(law: str) -> None:
    """In 200 problems, of which the law speaks of more than a fifth."""
    result, broken = run(HONEST, law, HONEST_EXAMPLES)
    assert broken is None
    assert result.problems == HONEST_EXAMPLES
    assert result.verified > 0.2 * HONEST_EXAMPLES
