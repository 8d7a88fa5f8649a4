"""Laws: what the decorator makes of a function, the list, and what each needs of a backend."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import properties
from properties.laws import LAWS
from properties.laws.law import PHASES, Asked, Law, Need, OutsideLaw, law
from tests.properties.wrapped import HONEST, LOOSE, Wrapped
from tests.verification.samples import DECODE, PREFILL
from verification.adapter import promising
from verification.adapters.sdpa import Flash
from verification.backends.protocol import Backend
from verification.catalogue import backend_named
from verification.oracle.judge import Verdict
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.problem.formats import FORMATS

BY_NAME = {law.name: law for law in LAWS}
FOLDER = Path(properties.__file__).parent
NARROW = ("float16", "bfloat16")
# In this order they are asked: what is simplest to understand where it breaks comes first.
ORDER = """
agrees_with_reference finite_stays_finite visible_nan_appears stays_in_convex_hull logs_what_is_owed cache_is_exact
guards_stay_intact inputs_stay_unmodified bad_input_is_refused poison_is_invisible block_ids_do_not_matter
batch_does_not_matter the_future_does_not_matter strides_do_not_matter index_dtype_does_not_matter same_call_same_bits
other_shapes_do_not_matter threads_do_not_matter gqa_equals_expanded_mha decode_is_the_last_row_of_prefill
chunks_equal_one_shot a_chunk_is_its_decodes values_scale_exactly wider_dtypes_agree rounds_to_either_side
long_contexts_average devices_agree an_endless_window_is_none a_vast_softcap_is_none a_mask_that_hides_nothing_is_none
a_mask_equals_its_broadcast a_bool_mask_is_a_float_mask
"""


def some_law(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    """a = b
    for all a.
    """
    return Verdict()


def no_docstring(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    return Verdict()


SOFTCAPS = Need("softcaps", lambda backend, dtype: dtype == "float32" and "softcap" in backend.contract.scoring)


@law(to_the_bit=True)
def bits(asked: Asked, problem: Problem) -> Verdict:  # noqa: ARG001
    """Measures 1 where bits are claimed."""
    return Verdict(float(asked.to_the_bit))


def test_a_law_has_the_name_and_the_words_of_its_check() -> None:
    """Indentation goes."""
    assert Law(some_law).name == "some_law"
    assert Law(some_law).statement == "a = b\nfor all a."
    assert Law(no_docstring).statement == ""


def test_defaults_speak_of_everything() -> None:
    """All phases, both devices, ordinary input."""
    plain = law()(some_law)
    assert plain == Law(some_law)
    assert (plain.phases, plain.devices, plain.bad_input, plain.plain) == (PHASES, ("cpu", "cuda"), False, False)
    assert plain.requirements() == []


def test_the_list_is_complete_and_in_order() -> None:
    """Names are unique: they are how a cell is asked for, and part of its seed."""
    assert [law.name for law in LAWS] == ORDER.split()
    assert len(BY_NAME) == len(LAWS)
    decorated = [
        node.name
        for path in (FOLDER / "laws").glob("*.py")
        if path.name != "law.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    assert sorted(decorated) == sorted(BY_NAME)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_law_is_stated(law: Law) -> None:
    """In a few lines, for phases and devices that exist."""
    assert 0 < len(law.statement.splitlines()) <= 3
    assert law.phases
    assert set(law.phases) <= set(PHASES) == {"prefill", "decode", "chunked"}
    assert set(law.devices) <= {"cpu", "cuda"}


def test_claims_are_laws() -> None:
    """What a backend claims to the last bit is a law of that kind."""
    assert HONEST.contract.bitwise <= {law.name for law in LAWS if law.to_the_bit}


def test_a_law_learns_whether_bits_are_claimed() -> None:
    """From the contract, by its own name; one that is no law of bits never does."""
    claiming = Wrapped(contract=replace(LOOSE, bitwise=frozenset({"bits", "some_law"})))
    assert bits(claiming, PREFILL).ratio == 1.0
    assert bits(Wrapped(contract=LOOSE), PREFILL).ratio == 0.0
    assert not Law(some_law).is_claimed(claiming.contract)


def test_what_is_missing_is_named() -> None:
    """By the cell that is not there, and by the reason where the law is asked all the same."""
    needing = law(needs=(SOFTCAPS,))(some_law)
    capped = Wrapped(contract=replace(LOOSE, scoring=frozenset({"softcap"})))
    assert [needing.asks(capped, dtype) for dtype in ("float32", "float16")] == [True, False]
    assert needing.asks(capped)
    assert not needing.asks(HONEST)
    with pytest.raises(OutsideLaw) as caught:
        needing(HONEST, PREFILL)
    assert caught.value.reason == "the law needs softcaps"
    assert needing.requirements() == ["softcaps"]


def test_what_a_contract_leaves_open_is_named() -> None:
    """A law comes to no such problem from another."""

    def asks(asked: Asked, problem: Problem) -> Verdict:
        asked.prepare(problem)
        return Verdict()

    left_open = {
        "the contract has no bottom_right alignment": replace(LOOSE, alignments=("top_left",)),
        "the contract takes no more than 2 tokens a sequence": replace(LOOSE, longest=2),
        "the contract leaves this undefined: indices: int64": replace(LOOSE, undefined=frozenset({"indices: int64"})),
    }
    problem = replace(PREFILL, causal_alignment="bottom_right")
    for reason, contract in left_open.items():
        with pytest.raises(OutsideLaw) as caught:
            Law(asks)(Wrapped(contract=contract), problem)
        assert caught.value.reason == reason


DENSE = {"dense_batches": True, "phases": ("prefill",)}
# By law: a contract that has what it needs, and contracts that lack something of it, by what is changed of the layer's.
RULED_OUT: dict[str, tuple[dict[str, object], list[dict[str, object]]]] = {
    "visible_nan_appears": ({}, [{"nonfinite": False}, {"undefined": frozenset({"special: nan seen"})}]),
    "logs_what_is_owed": ({}, [{"range_events": False}]),
    "bad_input_is_refused": ({}, [{"refuses": False}]),
    "cache_is_exact": ({}, [DENSE]),
    "block_ids_do_not_matter": ({}, [DENSE]),
    "poison_is_invisible": (DENSE, [{**DENSE, "nonfinite": False}]),
    "strides_do_not_matter": (
        {"undefined": frozenset({"layout: fused", "layout: transposed", "layout: strided"})},
        [{**DENSE, "undefined": frozenset({"layout: fused", "layout: transposed", "layout: strided"})}],
    ),
    "index_dtype_does_not_matter": ({}, [{"undefined": frozenset({"indices: int32"})}]),
    "the_future_does_not_matter": ({}, [{"phases": ("decode",)}]),
    "gqa_equals_expanded_mha": (
        {"compiled_sizes": ((4, 2, 8, 16), (4, 4, 8, 16))},
        [{"compiled_sizes": ((32, 8, 64, 16),)}, {"undefined": frozenset({"H/G: 2", "H/G: 3", "H/G: 5", "H/G: 8"})}],
    ),
    "decode_is_the_last_row_of_prefill": ({}, [{"phases": ("decode",)}, {"alignments": ("top_left",)}]),
    "chunks_equal_one_shot": ({}, [{"alignments": ("top_left",)}, DENSE]),
    "a_chunk_is_its_decodes": ({"phases": PHASES}, [{"phases": ("chunked",)}]),
    "values_scale_exactly": ({"bitwise": frozenset({"values_scale_exactly"})}, [{}]),
    "wider_dtypes_agree": ({"dtypes": ("float16", "float32")}, [{"dtypes": NARROW}]),
    "long_contexts_average": ({}, [{"longest": 20}, {**DENSE, "alignments": ("top_left",)}]),
    "an_endless_window_is_none": (
        {"scoring": frozenset({"window"})},
        [{}, {**DENSE, "scoring": frozenset({"window"}), "alignments": ("none",)}],
    ),
    "a_vast_softcap_is_none": ({"scoring": frozenset({"softcap"})}, [{}]),
    "a_mask_that_hides_nothing_is_none": ({**DENSE, "scoring": frozenset({"bool_mask"})}, [DENSE]),
    "a_mask_equals_its_broadcast": ({**DENSE, "scoring": frozenset({"float_mask"})}, [DENSE]),
    "a_bool_mask_is_a_float_mask": (
        {**DENSE, "scoring": frozenset({"bool_mask", "float_mask"})},
        [{**DENSE, "scoring": frozenset({"bool_mask"})}],
    ),
}


@pytest.mark.parametrize("name", RULED_OUT)
def test_a_law_that_a_contract_rules_out_has_no_cell(name: str) -> None:
    """And one that it does not rule out has one."""
    with_it, without = RULED_OUT[name]
    assert BY_NAME[name].asks(Wrapped(contract=replace(LOOSE, **with_it)))  # type: ignore[arg-type]
    for changes in without:
        assert not BY_NAME[name].asks(Wrapped(contract=replace(LOOSE, **changes))), changes  # type: ignore[arg-type]


def test_every_need_is_tried() -> None:
    """Of every law that needs something; of rounding and devices, tests of their own."""
    needing = {law.name for law in LAWS if set(law.requirements()) - {"device cpu"}}
    assert needing == {*RULED_OUT, "rounds_to_either_side", "devices_agree"}


@pytest.mark.parametrize(
    ("name", "dtypes"),
    [("wider_dtypes_agree", (*NARROW, "float32")), ("rounds_to_either_side", NARROW), ("cache_is_exact", FORMATS)],
)
def test_a_cell_has_a_dtype(name: str, dtypes: tuple[str, ...]) -> None:
    """No dtype is wider than float64, and only a narrow output is rounded much more than what it is summed in."""
    assert {dtype for dtype in FORMATS if BY_NAME[name].asks(HONEST, dtype)} == set(dtypes)


def test_rounding_is_asked_where_sums_are_fine() -> None:
    """Probabilities in the format of the output hide how that is rounded."""
    rounds = BY_NAME["rounds_to_either_side"]
    assert not rounds.asks(Wrapped(precision=Precision(probabilities="input")))
    assert not rounds.asks(backend_named("sdpa/flash"))
    assert rounds.asks(Wrapped(precision=Precision()))


def test_the_least_that_is_promised_is_asked_the_most_that_it_can_be() -> None:
    """A newcomer's contract: numbers alone."""
    newcomer = Wrapped(contract=promising("float32"))
    ruled_out = [law.name for law in LAWS if not law.asks(newcomer)]
    assert ruled_out == [
        *("visible_nan_appears", "logs_what_is_owed", "bad_input_is_refused", "a_chunk_is_its_decodes"),
        *("values_scale_exactly", "wider_dtypes_agree", "rounds_to_either_side", "devices_agree"),
        *(law.name for law in LAWS if law.scoring),
    ]
    assert BY_NAME["a_mask_that_hides_nothing_is_none"].asks(Flash())


@pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
def test_every_reason_is_a_sentence(problem: Problem) -> None:
    """Where a law says nothing it says why, in a line that fits into a report."""
    reasons = []
    for name in [it.name for it in LAWS if it.speaks_of(problem, "cpu")]:
        try:
            BY_NAME[name](HONEST, problem)
        except OutsideLaw as outside:
            reasons.append(outside.reason)
    assert reasons
    assert all(10 < len(reason) < 100 and not reason.endswith(".") for reason in reasons)


def test_laws_do_not_know_the_shrinker() -> None:
    """Nor does any of them say its own name."""
    for path in (FOLDER / "laws").glob("*.py"):
        text = path.read_text()
        assert "properties.shrink" not in text, path
        names = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
        assert not names & set(BY_NAME), path
