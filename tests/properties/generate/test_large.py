"""Large problems: valid, of bounded work, and of all sizes that kernels divide their work by."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random

import pytest

from properties.generate import large
from properties.generate.large import choose_sizes
from properties.generate.options import CALLS, HEAD_DIMS
from properties.generate.strategies import problems_within
from tests.properties.generated import over
from verification.backends.attn_core import AttnCore
from verification.backends.chunks import EAGER
from verification.backends.contract import Contract
from verification.problem import Problem
from verification.problem.large import LARGE, large_labels, size_of
from verification.problem.validate import check_problem

SHOWN = 1000


@cache
def drawn(phase: str) -> tuple[Problem, ...]:
    """Large problems of a phase, or of dense calls."""
    contract = Contract(("float16",), dense_batches=True)
    if phase != "dense":
        contract = (EAGER if phase == "chunked" else AttnCore()).contract
    found: list[Problem] = []
    with pytest.MonkeyPatch.context() as patch:
        for module in ("strategies", "uniform"):
            patch.setattr(f"properties.generate.{module}.IS_LARGE", large.st.just(True))
        phases = ("prefill",) if phase == "dense" else (phase,)
        over(300, problems_within(contract, "float16", phases))(lambda problem: found.append(problem))()
    return tuple(found)


@pytest.mark.parametrize("phase", ["prefill", "decode", "chunked", "dense"])
def test_every_edge_is_reached_in_a_thousand(phase: str) -> None:
    """With a probability of more than 99 %, at the measured rate; and most of them are as large as a kernel's tests."""
    counts = Counter(label for problem in drawn(phase) for label in large_labels(problem))
    edges = [label for label in LARGE if label.startswith("prefill" if phase == "dense" else phase)]
    if phase == "dense":
        edges.remove("prefill, unequal lengths")
    rates = {label: counts[label] / len(drawn(phase)) for label in edges}
    assert {label: rate for label, rate in rates.items() if 1 - (1 - rate) ** SHOWN <= 0.99} == {}
    assert Counter(map(size_of, drawn(phase))).most_common(1)[0][0] == "kernel"


@pytest.mark.parametrize("phase", ["prefill", "decode", "chunked", "dense"])
def test_they_are_valid_and_their_work_is_bounded(phase: str) -> None:
    for problem in drawn(phase):
        check_problem(problem)
        lengths = list(zip(problem.query_lens, problem.key_lens, strict=True))
        keys = sum(keys for _, keys in lengths) * problem.num_heads * problem.head_dim
        scores = sum(queries * keys for queries, keys in lengths) * problem.num_heads
        assert keys <= 2 * large.ENGINE.work
        assert scores <= 2 * large.ENGINE.scores


def test_sizes_that_are_compiled_for_are_kept() -> None:
    """Lengths and batches are the large ones."""
    sizes = ((4, 2, 64, 16), (8, 8, 128, 32))
    found = [choose_sizes(seed, CALLS[1], HEAD_DIMS, sizes, frozenset()) for seed in range(40)]
    made = {(x.sizes.num_heads, x.sizes.num_kv_heads, x.sizes.head_dim, x.sizes.block_size) for x in found}
    assert made == set(sizes)
    assert max(keys for x in found for _, keys in x.lengths) > 256


def test_what_a_contract_leaves_undefined_is_not_drawn() -> None:
    """Where no large heads are left they are tiny."""
    open_ = frozenset(f"H/G: {ratio}" for ratio in (1, 2, 3, 4, 5, 6, 7, 8, 16)) - {"H/G: 2"}
    rng = Random(0)
    for _ in range(20):
        sizes = choose_sizes(rng.randrange(2**32), CALLS[0], HEAD_DIMS, (), open_).sizes
        assert sizes.num_heads == 2 * sizes.num_kv_heads
