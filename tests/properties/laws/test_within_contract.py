"""Whatever problems a law makes of the drawn one, a backend is asked only about those that its contract speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.laws.law import OutsideLaw
from properties.run.probe import LABELS
from tests.properties.wrapped import HONEST
from tests.verification.paged_kernel import Scored
from tests.verification.samples import DECODE, PREFILL
from verification.adapters.written import Written
from verification.backends.chunks import EAGER
from verification.backends.contract import Contract
from verification.backends.protocol import Backend, Call, Returned, Wrapped
from verification.problem import Problem
from verification.problem.table import INDICES, TENSORS, given_to
from verification.problem.validate import check_problem
from verification.tensors.materialize import Tensors

BY_NAME = {law.name: law for law in LAWS}
LOOSE = replace(HONEST.contract, bitwise=frozenset({"values_scale_exactly"}))
CHUNKED = replace(EAGER.contract, bitwise=frozenset())
EXAMPLES, FEW = 6, 2


class Right(Scored):
    wrong = 0.0


@dataclass(frozen=True)
class Recording(Wrapped):
    """Fails on a problem that its contract does not speak of, and on tensors that are not those of the problem that was
    prepared.
    """

    promised: Contract
    asked: list[Problem] = field(default_factory=list)

    @property
    def contract(self) -> Contract:
        return self.promised

    def prepare(self, problem: Problem) -> Call:
        assert self.promised.speaks_of(check_problem(problem)), (self.promised.leaves_out(problem), problem)
        call = self.inner.prepare(problem)

        def checked(tensors: Tensors) -> Returned:
            self.asked.append(problem)
            if not problem.misuse:
                check_tensors(problem, tensors)
            return call(tensors)

        return checked


def check_tensors(problem: Problem, tensors: Tensors) -> None:
    """Shapes and dtypes of all, and the numbers of those that hold indices."""
    given = {name: x for name in TENSORS if (x := getattr(tensors, name)) is not None}
    assert tuple(given) == given_to(problem)
    for name, x in given.items():
        row = TENSORS[name]
        assert (name, tuple(x.shape)) == (name, row.shape(problem))
        assert (name, str(x.dtype)) == (name, f"torch.{row.dtype(problem).name}")
    held = {
        "slot_mapping": problem.slot_mapping,
        "cu_seqlens_q": np.cumsum((0, *problem.query_lens)),
        "cu_seqlens_k": np.cumsum((0, *problem.key_lens)),
        "context_lens": problem.key_lens,
        "block_tables": np.array(problem.block_tables).reshape(problem.num_sequences, problem.table_width),
    }
    assert held.keys() == set(INDICES)
    for name in held.keys() & given.keys():
        assert torch.equal(given[name].long(), torch.tensor(np.array(held[name], np.int64))), name


def _without(contract: Contract, *labels: str, **promises: Any) -> Contract:
    return replace(contract, undefined=contract.undefined | set(labels), **promises)


def _narrow() -> Iterator[tuple[str, Backend, Contract]]:
    """Contracts that leave out what a law may make of a problem that they speak of."""
    sizes = ((4, 2, 8, 16), (4, 4, 8, 16), (8, 4, 8, 16))
    yield "compiled", HONEST, replace(LOOSE, compiled_sizes=sizes)
    yield "compiled, in chunks", EAGER, replace(CHUNKED, compiled_sizes=sizes[::2])
    yield "few dims, few tokens", HONEST, replace(LOOSE, head_dims=(3, 16), longest=9, dtypes=("float32",))
    yield "as many heads", HONEST, _without(LOOSE, "H/G: 3", "G: 1", "sequences: 1", "score fill: normal")
    yield "never alone", EAGER, _without(CHUNKED, "sequences: 1", "slots: -1", "queries and keys: no queries")
    yield "in order", EAGER, _without(CHUNKED, "blocks: out of order", "blocks: > 32767")
    yield "no more than it must", HONEST, _without(LOOSE, *LABELS, blind="undefined", nonfinite=False, refuses={"q"})
    yield "one phase each", HONEST, LOOSE.differing("decode", undefined={"H/G: 1"}, head_dims=(12,), nonfinite=False)
    yield "int32, strided", HONEST, _without(LOOSE, "indices: int64", "layout: contiguous", "special: not seen")
    yield "scored", Right(), _without(Right.contract, "keys: 0", "block size: 256", scoring={"window", "softcap"})
    yield "dense", Written(), replace(Written.contract, alignments=("bottom_right",), head_dims=(3,))


CASES = {name: (backend, contract) for name, backend, contract in _narrow()}


@pytest.mark.parametrize("name", CASES)
def test_a_law_stays_within_the_contract(name: str) -> None:
    """Of the problems that it makes, sizes included; each is valid, and prepared for the tensors that it comes with."""
    backend, contract = CASES[name]
    recording, problems = Recording(backend, contract), list[Problem]()
    for bad_input, count in ((False, EXAMPLES), (bool(contract.refuses), 3)):
        drawn = problems_within(contract, contract.dtypes[-1], bad_input=bad_input)
        try_each(drawn, problems.append, 1, count)
    for law in (law for law in LAWS if law.name != "threads_do_not_matter"):
        for problem in problems[: FEW if law.name == "long_contexts_average" else None]:
            if law.speaks_of(problem, "cpu") and bool(problem.misuse) == law.bad_input:
                with suppress(OutsideLaw):
                    law.ask(recording, problem)
    assert len(recording.asked) > len(problems)


def test_a_kernel_for_some_sizes_is_asked_no_other() -> None:
    """As (8, 4) heads would be asked as (8, 8); the reason says so."""
    sizes = ((4, 2, 8, 16), (4, 4, 8, 16), (8, 4, 8, 16))
    recording = Recording(HONEST, replace(LOOSE, compiled_sizes=sizes))
    problem = replace(PREFILL, num_heads=8, num_kv_heads=4, head_dim=8, block_size=16)
    law = BY_NAME["gqa_equals_expanded_mha"]
    with pytest.raises(OutsideLaw, match=r"compiled for other sizes \(H, G, D, S\) than \(8, 8, 8, 16\)"):
        law(recording, problem)
    law(recording, replace(problem, num_heads=4, num_kv_heads=2))
    assert {(p.num_heads, p.num_kv_heads) for p in recording.asked} == {(8, 4), (4, 2), (4, 4)}


@pytest.mark.parametrize("law", ["block_ids_do_not_matter", "long_contexts_average"])
def test_tables_in_order_stay_so(law: str) -> None:
    """A law that would mix them says nothing, or keeps them in order."""
    contract = _without(LOOSE, "blocks: out of order")
    ordered = replace(DECODE, block_tables=((0, 2), (1, 99)), slot_mapping=(4, 3))
    said: list[int] = []
    for seed in range(8):
        with suppress(OutsideLaw):
            BY_NAME[law](Recording(HONEST, contract), replace(ordered, seed=seed))
            said.append(seed)
    assert said
    assert (len(said) == 8) == (law == "long_contexts_average")
