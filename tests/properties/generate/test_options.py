"""What a contract leaves undefined is not generated, and everything else still is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.generate.options import BAD_SLOTS, HEADS, Options, keep_defined, limit_options
from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws.invariance import index_dtype_does_not_matter, strides_do_not_matter
from properties.laws.law import OutsideLaw
from properties.laws.length import long_contexts_average
from properties.run.probe import LABELS
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import DECODE, PREFILL
from verification.backends.contract import Contract
from verification.problem import Problem
from verification.problem.labels import NAMES, labels


def labels_of(contract: Contract, examples: int = 60) -> set[str]:
    found: set[int] = set()
    try_each(problems_within(contract, "float32"), lambda problem: found.update(labels(problem)), 5, examples)
    return {name for name, index in NAMES.items() if index in found}


def test_by_default_nothing_is_missing() -> None:
    """So that equal seeds give the problems that they gave before contracts could leave anything open."""
    left, every = vars(limit_options(frozenset())), vars(Options())
    for name in ("hostile_tails", "hostile_behind", "ordered"):
        assert left.pop(name) == every.pop(name)
    assert {name: tuple(choices) for name, choices in left.items()} == every


@pytest.mark.parametrize("label", LABELS)
def test_what_is_undefined_is_not_generated(label: str) -> None:
    """Nor does it starve the rest."""
    found = labels_of(Contract(("float32",), undefined=frozenset({label})))
    assert label not in found
    assert {"call: decode", "call: prefill top-left", "call: prefill bottom-right"} <= found


def test_the_least_that_a_contract_can_define() -> None:
    """All that kernels differ about left out, there still are problems of both phases."""
    found = labels_of(Contract(("float32",), undefined=frozenset(LABELS)))
    assert found.isdisjoint(LABELS)
    assert {"call: decode", "call: prefill top-left", "block size: 16", "slots: in the cache"} <= found


@pytest.mark.parametrize("alignment", ["top_left", "bottom_right"])
def test_one_alignment(alignment: str) -> None:
    """A decode has none, so it stays."""
    found = labels_of(Contract(("float32",), alignments=(alignment,)))
    other = {"top_left": "bottom-right", "bottom_right": "top-left"}[alignment]
    assert f"call: prefill {other}" not in found
    assert {"call: decode", f"call: prefill {alignment.replace('_', '-')}"} <= found


def test_no_longer_than_it_takes() -> None:
    """Of what is drawn, and of what a law makes of it."""
    contract = Contract(("float32",), longest=20)
    lengths: list[int] = []
    problems = problems_within(contract, "float32")
    try_each(problems, lambda problem: lengths.extend((*problem.query_lens, *problem.key_lens)), 5, 60)
    assert max(lengths) in range(10, 21)
    with pytest.raises(OutsideLaw):
        long_contexts_average(Wrapped(contract=replace(HONEST.contract, longest=20)), DECODE)


def test_an_option_is_left_or_not() -> None:
    """ "all" spoils slots in every way; where nothing is left, there is nothing to ask."""
    assert set(keep_defined("bad_slots", BAD_SLOTS, frozenset({"slots: twice"}))) == {*BAD_SLOTS} - {"duplicate", "all"}
    with pytest.raises(ValueError, match=r"'G: 1', 'G: several'.* \(leaves no heads\)"):
        keep_defined("heads", HEADS, frozenset({"G: 1", "G: several"}))


def test_a_law_does_not_come_to_what_is_undefined() -> None:
    """From one problem to another that it compares with."""
    asked = []

    def watched(problem: Problem) -> None:
        asked.append(problem.layout)

    class Watched(Wrapped):
        def prepare(self, problem: Problem):  # type: ignore[no-untyped-def]
            watched(problem)
            return super().prepare(problem)

    strided = replace(PREFILL, layout="strided")
    kept = Watched(contract=replace(HONEST.contract, undefined=frozenset({"layout: contiguous", "indices: int64"})))
    for law in (strides_do_not_matter, index_dtype_does_not_matter):
        with pytest.raises(OutsideLaw):
            law(kept, replace(strided, index_dtype="int32"))
    assert set(asked) <= {"strided"}
    strides_do_not_matter(HONEST, strided)
    aligned = Watched(contract=replace(HONEST.contract, alignments=("bottom_right",)))
    with pytest.raises(OutsideLaw):
        strides_do_not_matter(aligned, strided)
    index_dtype_does_not_matter(aligned, DECODE)
