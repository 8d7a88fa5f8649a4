"""A kernel whose prefill leaks what it hides, and whose decode does not: each phase is held to its own promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.laws.law import Law, OutsideLaw
from properties.run.round import fuzz
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import DECODE, PREFILL
from verification.backends.contract import Contract
from verification.backends.expected import expected_from
from verification.backends.protocol import Backend
from verification.oracle.judge import Verdict
from verification.problem import Problem, Special
from verification.problem.labels import LABELS, labels
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import Tensors

EVERYWHERE = replace(HONEST.contract, bitwise=frozenset(), refuses=False, range_events=False)
# NaN that a query does not see, whether planted among its keys or left behind them.
SPILT = {"nonfinite": False, "undefined": {"poison around v: nan"}}
IN_PREFILL = EVERYWHERE.differing("prefill", **SPILT)  # type: ignore[arg-type]
IN_DECODE = EVERYWHERE.differing("decode", **SPILT)  # type: ignore[arg-type]


def _leaking(*phases: str) -> Callable[[Tensors, Tensor], Tensor]:
    """A NaN among the values of a sequence is in all of its rows, as by weights of 0 for what is hidden; in a decode,
    one anywhere in the cache.
    """

    def leak(tensors: Tensors, output: Tensor) -> Tensor:
        phase = "decode" if tensors.cu_seqlens_q is None else "prefill"
        if phase not in phases:
            return output
        if phase == "decode":
            return output + (torch.nan if tensors.v_cache.isnan().any() else 0.0)  # type: ignore[union-attr]
        queries, keys = (x.diff().tolist() for x in tensors.held("cu_seqlens_q", "cu_seqlens_k"))
        for rows, own in zip(output.split(queries), tensors.v.split(keys), strict=True):
            rows += torch.nan if own.isnan().any() else 0.0
        return output

    return leak


def first_broken(backend: Backend, examples: int = 12) -> tuple[str, str] | None:
    """The law and the phase of the first violation."""
    for law in LAWS:
        if law.asks(backend):
            _, broken, _ = fuzz(law, backend, "float32", 3, examples)
            if broken is not None:
                return law.name, broken.problem.phase
    return None


@pytest.mark.slow
def test_under_a_contract_that_differs_it_is_green() -> None:
    """Under one that does not, or that says it of the other phase, its prefill is broken."""
    leak = _leaking("prefill")
    assert first_broken(Wrapped(leak, contract=IN_PREFILL)) is None
    for contract in (EVERYWHERE, IN_DECODE):
        found = first_broken(Wrapped(leak, contract=contract))
        assert found is not None
        assert found[1] == "prefill"


def test_what_one_phase_does_not_promise_the_other_still_does() -> None:
    """A decode that leaks as well is caught: it is shown NaN as ever."""
    found = first_broken(Wrapped(_leaking("prefill", "decode"), contract=IN_PREFILL))
    assert found is not None
    assert found[1] == "decode"


def test_each_phase_is_drawn_within_its_own_promises() -> None:
    """All that it promises, and no more; whatever else is drawn, both come."""
    contract = IN_PREFILL.differing("decode", head_dims=(16, 64), longest=9)
    found: list[Problem] = []
    try_each(problems_within(contract, "float32"), found.append, 5, 300)
    assert all(contract.speaks_of(problem) for problem in found)
    by_phase = {phase: [p for p in found if p.phase == phase] for phase in ("prefill", "decode")}
    assert min(map(len, by_phase.values())) > 80
    assert {bool(problem.specials) for problem in by_phase["prefill"]} == {False}
    assert {bool(problem.specials) for problem in by_phase["decode"]} == {True, False}
    assert {problem.head_dim for problem in by_phase["decode"]} == {16, 64}
    assert {1, 80} < {problem.head_dim for problem in by_phase["prefill"]}
    spilt = {": ".join(LABELS[index]) for problem in by_phase["decode"] for index in labels(problem)}
    assert "poison around v: nan" in spilt


def test_where_nothing_differs_the_same_problems_are_drawn() -> None:
    """In the phases that are asked for: a difference in another one changes nothing."""
    draws = []
    for contract in (EVERYWHERE, EVERYWHERE.differing("prefill", nonfinite=False)):
        found: list[Problem] = []
        try_each(problems_within(contract, "float16", ("decode",)), found.append, 5, 100)
        draws.append(found)
    assert draws[0] == draws[1]


def test_a_law_sees_the_contract_of_the_phase() -> None:
    """And from it, what another phase owes."""
    contract = EVERYWHERE.differing("prefill", blind="nan", bitwise={"same_call_same_bits"})
    seen: list[Contract] = []

    def looks(backend: Backend, problem: Problem) -> Verdict:
        seen.append(backend.contract)
        assert backend.contract == contract.in_phase(problem.phase)
        for other in (PREFILL, DECODE):
            assert expected_from(backend, make_inputs(other)).exact.shape[0] == other.num_queries
            assert backend.contract.in_phase(other.phase) == contract.in_phase(other.phase)
        return Verdict()

    for problem in (PREFILL, DECODE):
        Law(looks).ask(Wrapped(contract=contract), problem)
    assert [(own.blind, len(own.bitwise)) for own in seen] == [("nan", 1), ("zeros", 0)]


def test_a_law_of_two_phases_asks_only_what_both_promise() -> None:
    """A decode with a NaN in it is no prefill that is promised to show it."""

    def asks_both(backend: Backend, problem: Problem) -> Verdict:
        backend.prepare(problem)
        backend.prepare(replace(problem, phase="decode", query_lens=(1, 1)))
        return Verdict()

    chunk = replace(DECODE, phase="chunked", specials=(Special("q", 0, 0, 0, "nan"),))
    contract = replace(EVERYWHERE, phases=("decode", "chunked"))
    law = Law(asks_both)
    law.ask(Wrapped(contract=contract), chunk)
    with pytest.raises(OutsideLaw):
        law.ask(Wrapped(contract=contract.differing("decode", nonfinite=False)), chunk)


def test_a_law_is_asked_where_some_phase_has_its_feature() -> None:
    """A window in decodes only."""
    law = next(law for law in LAWS if law.scoring == ("window",))
    windowed = EVERYWHERE.differing("decode", scoring={"window"})
    assert law.asks(Wrapped(contract=windowed))
    assert not replace(law, phases=("prefill",)).asks(Wrapped(contract=windowed))
    assert not law.asks(Wrapped(contract=EVERYWHERE))
