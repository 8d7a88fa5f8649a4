"""A contract is measured: what holds is proposed, what is promised and breaks is told."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count, islice
from typing import Any

import pytest
import torch
from torch import Tensor

from properties import cli
from properties.commands.probe import _spell
from properties.run.point import Point
from properties.run.probe import LABELS, probe
from properties.run.proposal import proposed
from tests.properties.wrapped import HONEST, Wrapped
from verification.adapter import Batch
from verification.adapters.written import Written
from verification.backends.attn_core import AttnCore
from verification.backends.contract import Contract
from verification.backends.kernels import HALVES, cpu_kernels
from verification.backends.promises import ARGUMENTS
from verification.backends.protocol import Backend, Call
from verification.catalogue import backend_named
from verification.faults import FAULTS
from verification.problem.formats import FORMATS
from verification.tensors.materialize import Tensors

FEATURES = {*Written.contract.scoring} - {"blind_rows"}
FLASH = next(backend for backend in cpu_kernels() if backend.name == "sdpa/flash")


def points_of(backend: Backend) -> dict[tuple[str, str], Point]:
    return {(point.field, point.value): point for point in probe(backend, 0, 6)}


@pytest.mark.slow
def test_our_own_layer_keeps_all_that_it_promises() -> None:
    """And what is measured is what is declared, but for a second thread: of problems as small as these it changes
    nothing, and of others nobody promises it.
    """
    backend = AttnCore()
    points = points_of(backend)
    assert all(point.holds for point in points.values() if point.declared)
    bitwise = backend.contract.bitwise | {"threads_do_not_matter"}
    assert proposed(backend, list(points.values())) == replace(backend.contract, bitwise=bitwise)


@pytest.mark.slow
def test_a_kernel_that_promises_little() -> None:
    """torch's flash kernel: any dtype and head_dim, no word on NaN, no warnings."""
    points = points_of(FLASH)
    assert all(point.holds for (field, _), point in points.items() if field in ("dtypes", "head_dims"))
    assert points["defines", "special: inf seen"].broken
    assert points["range_events", ""].broken.startswith("logged nothing")
    contract = proposed(FLASH, list(points.values()))
    assert (contract.dtypes, contract.head_dims) == (FLASH.contract.dtypes, ())
    assert "same_call_same_bits" in contract.bitwise
    assert "special: inf seen" in contract.undefined
    assert not contract.range_events


@pytest.mark.slow
def test_what_a_kernel_cannot_is_left_out() -> None:
    """Dtypes and head_dims in which it raises."""

    def choosy(q, k, v, causal, scale):  # type: ignore[no-untyped-def]
        if str(q.dtype).removeprefix("torch.") not in HALVES or q.shape[2] % 16:
            raise RuntimeError("no kernel for this")
        return FLASH.dense(q, k, v, causal, scale)

    points = points_of(replace(FLASH, dense=choosy))
    contract = proposed(FLASH, list(points.values()))
    assert contract.dtypes == HALVES
    assert contract.head_dims == (16, 64, 80, 128)
    assert "no kernel for this" in points["dtypes", "float32"].broken


@pytest.mark.parametrize(
    ("ignored", "field", "holding"),
    [({"softcap": 0.0}, "scoring", FEATURES - {"softcap"}), ({"alignment": "top_left"}, "alignments", {"top_left"})],
)
def test_what_is_asked_of_problems_that_have_it(ignored: dict[str, Any], field: str, holding: set[str]) -> None:
    """One that ignores a softcap, or where the diagonal lies, answers right wherever that changes nothing."""

    class Deaf(Written):
        contract = replace(Written.contract, alignments=("top_left",))

        def attend(self, batch: Batch) -> Tensor:
            return super().attend(replace(batch, **ignored))

    points = [point for point in islice(probe(Deaf(), 0, 3), 23) if point.field == field]
    assert {point.value for point in points if point.holds} == holding


def test_what_breaks_now_and_then_is_broken() -> None:
    """As memory that nobody has written."""
    calls = count()

    def unsteady(q, k, v, causal, scale):  # type: ignore[no-untyped-def]
        return FLASH.dense(q, k, v, causal, scale) + (next(calls) % 3 == 2)

    points = list(islice(probe(replace(FLASH, dense=unsteady), 0, 25), 4))
    assert [point.value for point in points if point.broken] == list(FORMATS)


def test_one_that_is_tried_with_sizes_has_no_head_dims_to_ask() -> None:
    """Nor do those decide about anything."""
    backend = replace(FLASH, contract=replace(FLASH.contract, compiled_sizes=((2, 1, 12, 3),)))
    points = list(islice(probe(backend, 0, 25), 8))
    assert {point.field for point in points} == {"dtypes", "alignments", "defines"}
    assert all(point.holds for point in points)
    assert proposed(backend, points).head_dims == ()


@pytest.fixture
def _few_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no label is probed sooner."""
    few = {label: LABELS[label] for label in ("slots: -1", "special: nan seen")}
    monkeypatch.setattr("properties.run.probe.LABELS", few)


@pytest.mark.usefixtures("_few_labels")
def test_refusals_are_measured_argument_by_argument() -> None:
    """One that takes bad tables refuses the rest."""

    def careless(call: Call) -> Call:
        def answered(tensors: Tensors) -> Tensor:
            try:
                return call(tensors)
            except (ValueError, TypeError) as error:
                if "block_tables" in str(error):
                    return torch.zeros_like(tensors.q)
                raise

        return answered

    backend = Wrapped(around=careless)
    points = [point for point in probe(backend, 0, 6) if point.field == "refuses"]
    assert {point.value for point in points} == set(ARGUMENTS)
    assert all(point.declared for point in points)
    assert [point.value for point in points if not point.holds] == ["block_tables"]
    dtypes = Point("dtypes", "float16", True, 1)
    contract = proposed(backend, [dtypes, *points])
    assert contract is not None
    assert contract.refuses == frozenset(ARGUMENTS) - {"block_tables"}
    for rest, refuses in ((points[:1], True), ([], False), ([replace(points[0], broken="so")], False)):
        assert proposed(backend, [dtypes, *rest]) == replace(contract, refuses=refuses)


@pytest.mark.usefixtures("_few_labels")
def test_a_contract_that_differs_is_measured_phase_by_phase() -> None:
    """Each point is one of a phase, and what is proposed differs as what was measured does."""
    contract = replace(HONEST.contract, range_events=False).differing("prefill", nonfinite=False)
    points = list(probe(Wrapped(contract=contract), 0, 4))
    assert {point.phase for point in points} == {"prefill", "decode"}
    owed = {(p.phase, p.value): p.declared for p in points if p.field == "defines"}
    assert owed == {
        **dict.fromkeys((("prefill", "slots: -1"), ("decode", "slots: -1"), ("decode", "special: nan seen")), True),
        ("prefill", "special: nan seen"): False,
    }
    broken = {("prefill", "special: nan seen"), ("decode", "same_call_same_bits")}
    bad = [replace(point, broken="so") if (point.phase, point.value) in broken else point for point in points]
    found = proposed(Wrapped(contract=contract), bad)
    assert found is not None
    assert (found.phases, found.dtypes) == (contract.phases, contract.dtypes)
    assert [found.in_phase(phase).nonfinite for phase in found.phases] == [False, True]
    assert ["same_call_same_bits" in found.in_phase(phase).bitwise for phase in found.phases] == [True, False]
    assert proposed(Wrapped(contract=contract), [p for p in bad if p.field != "dtypes"]) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "label"),
    [("slot-wraps", "slots: -1"), ("slot-first-wins", "slots: twice"), ("table-tail-weight0", "poison around v: nan")],
)
def test_what_a_kernel_does_otherwise_is_proposed_as_undefined(fault: str, label: str) -> None:
    """And what it does as others do is not."""
    backend = FAULTS[fault].backend()
    contract = proposed(backend, list(points_of(backend).values()))
    assert label in contract.undefined
    assert contract.undefined.isdisjoint({"layout: fused", "H/G: 2", "block size: 3", "slots: too large"})


def test_what_is_wrong_everywhere_holds_nowhere() -> None:
    """Then nothing else is asked."""
    points = points_of(backend_named("mask-one-future"))
    assert points["dtypes", "float16"].broken


@pytest.mark.parametrize(("backend", "code"), [("attn_core/eager", 0), ("mask-one-future", 3)])
def test_the_command(backend: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """0 where all promises hold, 1 where one breaks, 3 where nothing holds."""
    with pytest.raises(SystemExit) as ended:
        cli.app(["probe", "--backend", backend, "--examples", "40" if code else "3", "--json"])
    assert ended.value.code == code
    told = json.loads(capsys.readouterr().out)
    assert (told["proposed"] or "").startswith("Contract(") == (code == 0)
    assert {point["field"] for point in told["points"]} >= {"dtypes"}


def test_a_proposal_is_code() -> None:
    """Which makes that contract, and has no more than it must."""
    for contract in (
        Contract(("float16",), refuses=frozenset({"q", "k"}), blind="nan"),
        Contract(("float16", "float32"), head_dims=(16,)).differing("decode", scoring={"window"}, longest=9),
    ):
        text = _spell(contract)
        assert text is not None
        assert eval(text) == contract
    assert text.endswith(".differing('decode', longest=9, scoring=frozenset(['window']))")
    assert _spell(None) is None
