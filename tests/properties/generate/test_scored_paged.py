"""Kernels with paged caches of their own under a window, a softcap, slopes and sinks: what is wrong is found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.run.round import fuzz
from tests.properties.generated import over
from tests.verification.paged_kernel import Scored, store
from verification.adapter import PagedAdapter
from verification.problem import Problem
from verification.problem.labels_behind import labels_behind
from verification.problem.validate import is_valid
from verification.problem.visibility import count_behind_window
from verification.tensors.materialize import Tensors

AGREES = next(law for law in LAWS if law.name == "agrees_with_reference")


class Right(Scored):
    wrong = 0.0


class Deaf(Right):
    """Does something else than the problem says."""

    def __init__(self, **instead: Any) -> None:
        self._instead = instead

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        instead = {name: value for name, value in self._instead.items() if getattr(problem.scoring, name, None)}
        tensors = replace(tensors, sinks=None) if "sinks" in instead else tensors
        if "window" in instead:
            instead["window"] += problem.scoring.window
        return super().attend(replace(problem, scoring=replace(problem.scoring, **instead)), tensors)


@pytest.mark.parametrize("law", [law for law in LAWS if law.asks(Right())], ids=lambda law: law.name)
def test_an_honest_kernel_passes(law: Any) -> None:
    result, broken, _ = fuzz(law, Right(), "float16", 1, 12)
    assert broken is None, result.failure


@pytest.mark.parametrize(
    "instead",
    [
        {"window": 1},
        pytest.param({"window": -1}, marks=pytest.mark.slow),
        pytest.param({"softcap": 0.0}, marks=pytest.mark.slow),
        {"alibi": False},
        {"sinks": False},
        pytest.param({"scale": None}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_deaf_one_is_found(instead: dict[str, Any]) -> None:
    """And made small, with nothing in force but what it ignores."""
    _, broken, _ = fuzz(AGREES, Deaf(**instead), "float16", 1, 150)
    assert broken is not None
    assert broken.problem.num_tokens <= 12
    [feature] = broken.problem.scoring.features
    assert feature.removeprefix("odd_") in instead


# A window is all that it has; nothing that may lie behind one is left out.
WINDOWS = replace(
    Scored.contract,
    phases=("decode", "chunked"),
    scoring=frozenset({"window"}),
    nonfinite=False,
    undefined=frozenset(),
)


class Looks(PagedAdapter):
    """Reads the whole context, then masks what lies behind the window: 0 * NaN is NaN. Ids may be anything."""

    name = "somebody/looks"
    contract = WINDOWS
    skips = False

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        caches, (tables,), out = store(tensors), tensors.held("block_tables"), tensors.q.double()
        row, size, window = 0, problem.block_size, problem.scoring.window or 2**40
        for table, queries, keys in zip(tables.long(), problem.query_lens, problem.key_lens, strict=True):
            first = max(0, keys - queries - window + 1) if self.skips else 0
            place = torch.arange(first, max(first, min(keys, len(table) * size)) if queries else first)
            place = place[(table[place // size] >= 0) & (table[place // size] < problem.num_blocks)]
            k, v = (cache[table[place // size], place % size].double() for cache in caches)
            k, v = (x.repeat_interleave(out.shape[1] // x.shape[1], dim=1).transpose(0, 1) for x in (k, v))
            age = torch.arange(keys - queries, keys)[:, None] - place
            scores = out[row : row + queries].transpose(0, 1) @ k.mT * problem.scale
            weights = scores.masked_fill((age < 0) | (age >= window), -torch.inf).softmax(-1).nan_to_num(0.0)
            out[row : row + queries] = (weights @ v).transpose(0, 1)
            row += queries
        return out.to(tensors.q.dtype)


class Skips(Looks):
    """Reads the window alone."""

    name = "somebody/skips"
    skips = True


class Promises(Looks):
    """Nothing of NaN behind the window."""

    name = "somebody/promises"
    contract = replace(WINDOWS, undefined=frozenset({"behind a window: nan"}))


def test_a_drawn_table_has_ids_of_pages_that_are_gone() -> None:
    """In columns wholly behind the window: outside the cache, others' or their own, and some read elsewhere."""
    kinds = Counter[str]()

    @over(700, problems_within(WINDOWS, "float16"))
    def check(problem: Problem) -> None:
        assert is_valid(problem)
        for row, queries, keys in zip(problem.block_tables, problem.query_lens, problem.key_lens, strict=True):
            count = count_behind_window(problem, queries, keys) // problem.block_size
            read = row[count : -(-keys // problem.block_size)]
            for block in row[:count]:
                inside = 0 <= block < problem.num_blocks
                kinds["read elsewhere" if block in read else "inside" if inside else "outside"] += 1

    check()
    assert min(kinds[kind] for kind in ("read elsewhere", "inside", "outside")) > 10


def test_a_contract_may_leave_bad_ids_behind_a_window_out() -> None:
    """Then ids there are inside the cache, and not read elsewhere by that sequence; others' pages still come up."""
    label = "behind a window: bad blocks"

    @over(400, problems_within(replace(WINDOWS, undefined=frozenset({label})), "float16"))
    def check(problem: Problem) -> None:
        assert label not in labels_behind(problem)

    check()


def test_a_kernel_that_reads_behind_the_window_and_masks_is_told() -> None:
    """On a small problem, with a window and a NaN behind it."""
    _, broken, _ = fuzz(AGREES, Looks(), "float16", 1, 300)
    assert broken is not None
    assert "behind a window: nan" in labels_behind(broken.problem)
    assert broken.problem.num_tokens <= 6


@pytest.mark.parametrize("law", ["agrees_with_reference", "poison_is_invisible"])
@pytest.mark.parametrize("kernel", [Skips(), Promises()], ids=lambda kernel: kernel.name)
def test_a_kernel_that_does_not_and_one_that_leaves_it_out_are_silent(kernel: Looks, law: str) -> None:
    """Whatever lies there, of what is promised."""
    asked = next(one for one in LAWS if one.name == law)
    result, broken, _ = fuzz(asked, kernel, "float16", 1, 120)
    assert broken is None, result.failure
    assert result.verified > 60


def test_every_phase_has_every_feature() -> None:
    """Valid problems, of which most have none."""
    drawn: list[Problem] = []

    @over(600, problems_within(Scored.contract, "float16"))
    def check(problem: Problem) -> None:
        assert is_valid(problem)
        drawn.append(problem)

    check()
    for phase in Scored.contract.phases:
        having = [problem.scoring.features for problem in drawn if problem.phase == phase]
        assert frozenset().union(*having) == Scored.contract.scoring
        assert 0.2 < sum(not features for features in having) / len(having) < 0.8
