"""A contract may be another one in each phase."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from properties.show.recorded import write_script
from tests.properties.wrapped import Wrapped
from tests.verification.samples import CHUNKED, DECODE, PREFILL, one_head
from verification.backends.attn_core import AttnCore
from verification.backends.contract import Contract
from verification.backends.expected import expected_from
from verification.backends.promises import CHECKS, PHASES, Differing
from verification.backends.token_by_token import TokenByToken
from verification.faults import FAULTS
from verification.problem import Special
from verification.tensors.inputs import make_inputs

ALL = Contract(("float16",), phases=PHASES)
LEAKY = ALL.differing("prefill", nonfinite=False, undefined={"slots: -1"}).differing("chunked", blind="nan")
NAN = Special("q", 0, 0, 0, "nan")


def test_each_phase_has_its_own() -> None:
    """And what is not said of it is as in all others."""
    assert [LEAKY.in_phase(phase).nonfinite for phase in PHASES] == [False, True, True]
    assert [LEAKY.in_phase(phase).blind for phase in PHASES] == ["zeros", "zeros", "nan"]
    assert {LEAKY.in_phase(phase).phases for phase in PHASES} == {PHASES}
    assert LEAKY.nonfinite
    assert all(ALL.in_phase(phase) is ALL for phase in PHASES)
    assert hash(LEAKY) != hash(ALL)


def test_from_one_phase_the_others_are_known() -> None:
    """A law that sees the contract of one phase may ask about another."""
    for phase in PHASES:
        for other in PHASES:
            assert LEAKY.in_phase(phase).in_phase(other) == LEAKY.in_phase(other)
    for phase in PHASES:
        assert LEAKY.in_phase(phase).in_phase(phase) is LEAKY.in_phase(phase)


def test_how_it_may_be_said() -> None:
    """Field by field, or all at once; what is said twice counts as said last, and what changes nothing is nothing."""
    said = {"prefill": {"nonfinite": False, "undefined": ["slots: -1"]}, "chunked": {"blind": "nan"}}
    assert replace(ALL, by_phase=said) == LEAKY
    assert (
        ALL.differing("chunked", blind="nan").differing("prefill", undefined=("slots: -1",), nonfinite=False) == LEAKY
    )
    assert ALL.differing("decode", blind="nan").differing("decode", blind="mean") == ALL.differing(
        "decode", blind="mean"
    )
    assert ALL.differing("decode", blind="nan").differing("decode", blind="zeros") == ALL


def test_what_holds_in_all_phases() -> None:
    """Whatever differed; and a phase that is not there does not differ."""
    assert LEAKY.in_all_phases(nonfinite=False, undefined=(), blind="mean") == replace(
        ALL, nonfinite=False, blind="mean"
    )
    assert LEAKY.in_all_phases(phases=("decode",)).by_phase == ()
    assert replace(LEAKY, phases=("prefill", "decode")).in_phase("chunked").blind == "zeros"


def test_every_field_may_differ_but_those_of_the_call() -> None:
    """One that is added must be put somewhere."""
    assert CHECKS.keys() - Differing.__annotations__.keys() == {"dtypes", "phases", "dense_batches"}


@pytest.mark.parametrize(
    ("phase", "promises", "error", "line"),
    [
        ("prefil", {}, ValueError, "phase: 'prefil' (must be one of its phases, 'prefill', 'decode'; the nearest is"),
        ("chunked", {}, ValueError, "phase: 'chunked' (must be one of its phases, 'prefill', 'decode')"),
        ("decode", {"blind": "zero"}, ValueError, "blind in decode: 'zero' (must be one of 'zeros'"),
        ("decode", {"nonfinite": "no"}, TypeError, "nonfinite in decode: 'no' (must be True or False)"),
        ("decode", {"scoring": "window"}, TypeError, "scoring in decode: 'window' (must be a set of names, as {'wind"),
        ("decode", {"nonfinit": True}, TypeError, "differing: 'nonfinit' (must be a field that it takes; the nearest"),
        ("decode", {"dtypes": ("float16",)}, TypeError, "differing: 'dtypes' (must be a field that it takes: bitwise,"),
    ],
)
def test_what_is_misspelt_is_one_line(phase: str, promises: dict[str, object], error: type, line: str) -> None:
    """As of a contract that is the same everywhere."""
    with pytest.raises(error) as raised:
        Contract(("float16",)).differing(phase, **promises)  # type: ignore[arg-type]
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)


def test_a_problem_is_asked_about_in_its_phase() -> None:
    """NaN, labels, lengths, alignments, sizes, scoring."""
    assert LEAKY.speaks_of(replace(DECODE, specials=(NAN,)))
    assert not LEAKY.speaks_of(replace(PREFILL, slot_mapping=(0, 1, 7, 3, 2), specials=(NAN,)))
    padded = replace(DECODE, slot_mapping=(0, -1))
    assert LEAKY.defines(padded)
    assert LEAKY.leaves_open(PREFILL) == ["slots: -1"]
    for field, value in (
        ("longest", 2),
        ("head_dims", (64,)),
        ("compiled_sizes", ((2, 1, 64, 2),)),
        ("undefined", {"H/G: 2"}),
    ):
        contract = ALL.differing("decode", **{field: value})  # type: ignore[arg-type]
        assert [contract.speaks_of(problem) for problem in (PREFILL, DECODE, CHUNKED)] == [True, False, True], field
    aligned = ALL.differing("prefill", alignments=("bottom_right",))
    assert [aligned.speaks_of(problem) for problem in (PREFILL, DECODE, CHUNKED)] == [False, True, True]


def test_an_answer_is_owed_as_its_phase_promises() -> None:
    """Rows that see nothing are NaN in one and 0 in another."""
    backend = Wrapped(contract=ALL.differing("prefill", blind="nan"))
    sees_nothing = one_head(queries=2, keys=1)
    assert np.isnan(expected_from(backend, make_inputs(sees_nothing)).exact[0]).all()
    lost = replace(DECODE, block_tables=((9, 9), (9, 9)))
    assert not expected_from(backend, make_inputs(lost)).exact.any()


@pytest.mark.parametrize(("phase", "owed"), [("prefill", "np.full(q.shape, np.nan)"), ("decode", "np.zeros(q.shape)")])
def test_a_script_owes_what_the_phase_of_its_call_promises(phase: str, owed: str) -> None:
    """For rows that see nothing: here one of a prefill."""
    honest = AttnCore(contract=replace(AttnCore().contract, bitwise=frozenset()).differing(phase, blind="nan"))
    fault = replace(FAULTS["mask-one-future"].backend(), honest=honest)  # type: ignore[type-var]
    assert owed in write_script(one_head(queries=2, keys=1), "agrees_with_reference", fault)


def test_what_lies_outside_in_one_phase_is_said_of_it() -> None:
    """What lies outside in all of them, of none."""
    assert LEAKY.outside == (
        "bfloat16",
        "float32",
        "float64",
        "in prefill: NaN and Inf in tensors",
        "in prefill: slots: -1",
    )
    both = replace(LEAKY, undefined=frozenset({"slots: -1"}), longest=9)
    assert both.outside[3:] == ("more than 9 tokens a sequence", "slots: -1", "in prefill: NaN and Inf in tensors")


def test_a_chunk_of_decodes_promises_what_a_decode_does() -> None:
    """And refuses nothing, in no phase."""
    inner = Contract(("float16",)).differing("decode", nonfinite=False, refuses={"q"}).differing("prefill", blind="nan")
    chunked = TokenByToken(Wrapped(contract=inner)).contract
    assert [chunked.in_phase(phase).nonfinite for phase in ("decode", "chunked")] == [False, False]
    assert (chunked.by_phase, chunked.refuses, chunked.blind) == ((), False, "zeros")
