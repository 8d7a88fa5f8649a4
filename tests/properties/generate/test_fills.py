"""Laws of bits are asked with numbers whose sums show in which order they were added."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from properties.generate.options import SCORE_FILLS, VALUE_FILLS
from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.laws.law import Asked, Law
from properties.run.round import fuzz
from tests.verification.paged_kernel import CONTRACT, Honest
from verification.adapters.written import Written
from verification.backends.attn_core import AttnCore
from verification.backends.contract import Contract
from verification.backends.protocol import Backend
from verification.oracle.judge import Verdict
from verification.problem import Problem
from verification.tensors.materialize import Tensors

BY_NAME = {law.name: law for law in LAWS}
PAGED, DENSE = AttnCore(), Written()


def _drawn(contract: Contract, half_normal: bool, examples: int = 300) -> list[Problem]:
    found: list[Problem] = []
    try_each(problems_within(contract, "float32", half_normal=half_normal), found.append, 7, examples)
    return found


def _share_of_normal(problems: list[Problem]) -> float:
    normal = [problem.score_fill == problem.value_fill == "normal" for problem in problems]
    return sum(normal) / len(normal)


@pytest.mark.parametrize("backend", [PAGED, DENSE], ids=["paged", "dense"])
def test_half_of_them_are_normal(backend: Backend) -> None:
    """Where that is asked for; a law that looks at numbers gets one in ninety, and one in 64 of dense batches."""
    assert 0.42 < _share_of_normal(_drawn(backend.contract, True)) < 0.7
    assert _share_of_normal(_drawn(backend.contract, False)) < 0.15


def test_the_others_have_every_fill_and_every_dtype_of_indices() -> None:
    """Each fill with both."""
    problems = _drawn(PAGED.contract, True, 1000)
    for name, fills in (("score_fill", SCORE_FILLS), ("value_fill", VALUE_FILLS)):
        found = {(getattr(problem, name), problem.index_dtype) for problem in problems}
        assert found == {(fill, dtype) for fill in fills for dtype in ("int32", "int64")}


@pytest.mark.parametrize("fill", ["score fill: normal", "value fill: normal"])
def test_a_contract_may_leave_normal_numbers_open(fill: str) -> None:
    """Then the others are drawn."""
    contract = replace(PAGED.contract, undefined=frozenset({fill}))
    assert _share_of_normal(_drawn(contract, True, 50)) == 0


@pytest.mark.parametrize("name", ["batch_does_not_matter", "agrees_with_reference"])
def test_a_round_of_a_law_of_bits_asks_for_them(name: str) -> None:
    """And no other."""
    asked: list[Problem] = []

    def collect(_: Asked, problem: Problem) -> Verdict:
        asked.append(problem)
        return Verdict()

    law = replace(BY_NAME[name], check=collect)
    fuzz(law, PAGED, "float32", 3, 120)
    assert (_share_of_normal(asked) > 0.35) == law.to_the_bit


def _count_broken(law: Law, backend: Backend, half_normal: bool, examples: int) -> int:
    broken = 0

    def check(problem: Problem) -> None:
        nonlocal broken
        broken += law.breaks(backend, problem)

    kind = law.phases, law.plain, law.bad_input, half_normal
    try_each(problems_within(backend.contract, "float32", *kind), check, 11, examples)
    return broken


class Split(Honest):
    """Adds the weighted values in two parts where the batch has several sequences, else in one."""

    name = "somebody/split"
    contract = replace(CONTRACT, bitwise=frozenset({"batch_does_not_matter"}))

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        self._parts = min(2, problem.num_sequences)
        return super().attend(problem, tensors)

    def _one(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        hidden = torch.ones(len(q), k.shape[1], dtype=torch.bool).triu(k.shape[1] - len(q) + 1)
        weights = (q.transpose(0, 1) @ k.mT * scale).masked_fill(hidden, -torch.inf).softmax(dim=-1)
        terms = (weights[..., None] * v[:, None]).tensor_split(self._parts, dim=2)
        total = torch.zeros_like(q.transpose(0, 1))
        for part in terms:
            partial = torch.zeros_like(total)
            for term in part.unbind(2):
                partial = partial + term
            total = total + partial
        return total.transpose(0, 1)


def test_a_split_that_depends_on_the_batch_shows_in_many_problems() -> None:
    """Sums of ones, of zeros and of small integers are the same in any order."""
    law = BY_NAME["batch_does_not_matter"]
    before, after = (_count_broken(law, Split(), half_normal, 200) for half_normal in (False, True))
    assert after >= 36
    assert after > 1.3 * before  # large problems show it as often, whatever their numbers are
