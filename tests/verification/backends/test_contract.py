"""What a contract promises something about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from properties.laws.devices import devices_agree
from properties.laws.law import OutsideLaw
from tests.verification.misspelt import Case, cases_of, check_refusal, check_table
from tests.verification.samples import DECODE, PREFILL
from verification.backends.contract import Contract
from verification.backends.dense import dense_contract
from verification.backends.kernels import cpu_kernels, cuda_kernels
from verification.backends.promises import WATCHED
from verification.backends.protocol import NotPortable
from verification.catalogue import UnknownBackend, backend_named
from verification.oracle.expectation import expect
from verification.oracle.precision import Precision
from verification.problem import Problem, Scoring, Special
from verification.problem.misuse import MISUSES
from verification.tensors.inputs import make_inputs

NAN = Special("q", 0, 0, 0, "nan")
GOOD = Contract(("float16",))
MISSPELT: dict[str, list[Case]] = {
    "dtypes": [
        (
            ("fp16",),
            ValueError,
            "'fp16' (must be one of 'float16', 'bfloat16', 'float32', 'float64'; the nearest is 'f",
        ),
        ((), ValueError, "at least one dtype"),
        (("float16", "float16"), ValueError, "'float16' (must be named once)"),
        ("float16", TypeError, "as ('float16',) is"),
        ((torch.float16,), TypeError, "torch.float16 (must be one of 'float16'"),
        (None, TypeError, "None (must be a tuple of names)"),
    ],
    "phases": [
        (("prefil",), ValueError, "'prefil' (must be one of 'prefill', 'decode', 'chunked'; the nearest is 'prefill')"),
        ([], ValueError, "at least one phase"),
        ("prefill", TypeError, "as ('prefill',) is"),
    ],
    "bitwise": [
        ("same_call_same_bits", TypeError, "as {'same_call_same_bits'} is"),
        ({1}, TypeError, "1 (must be the name of a law)"),
        ({""}, ValueError, "'' (must be the name of a law)"),
    ],
    "refuses": [
        ({"key"}, ValueError, "'key' (must be one of 'q', 'k', 'v', 'cu_seqlens_q'"),
        ("q", TypeError, "as {'q'} is"),
        (1, TypeError, "1 (must be True, False or a set of arguments)"),
    ],
    "range_events": [("no", TypeError, "'no' (must be True or False)")],
    "nonfinite": [(0, TypeError, "0 (must be True or False)"), (None, TypeError, "None (must be True or False)")],
    "head_dims": [
        ((0,), ValueError, "0 (must be a whole number, 1 or more)"),
        ((64.0,), TypeError, "64.0 (must be a whole number, 1 or more)"),
        ((True,), TypeError, "True (must be a whole number, 1 or more)"),
        (64, TypeError, "64 (must be a tuple of whole numbers)"),
    ],
    "longest": [(-1, ValueError, "-1 (must be a whole number, 0 or more)"), ("9", TypeError, "'9' (must be a whole")],
    "compiled_sizes": [
        (((4, 3, 64, 32),), ValueError, "(4, 3, 64, 32) (must be sizes (H, G, D, S), H a multiple of G)"),
        (((4, 2, 64),), ValueError, "(4, 2, 64) (must be sizes (H, G, D, S)"),
        (((4, 2, 64, 0),), ValueError, "0 (must be a whole number, 1 or more)"),
        ((4, 2, 64, 32), TypeError, "4 (must be sizes (H, G, D, S)"),
    ],
    "uncomputed": [
        (("prefil_attn_",), ValueError, "'prefil_attn_' (must be the beginning of one of 'prefill_q_seq_'"),
        (("",), ValueError, "'' (must be the beginning of one of"),
        ("prefill_attn_", TypeError, "as ('prefill_attn_',) is"),
    ],
    "alignments": [
        (
            ("top-left",),
            ValueError,
            "'top-left' (must be one of 'top_left', 'bottom_right', 'none'; the nearest is 'top_l",
        ),
        ((), ValueError, "at least one alignment"),
        ("top_left", TypeError, "as ('top_left',) is"),
    ],
    "scoring": [
        ({"windows"}, ValueError, "'windows' (must be one of 'scale', 'odd_scale', 'softcap', 'window'"),
        ("window", TypeError, "as {'window'} is"),
        ({"window": 3}, TypeError, "{'window': 3} (must be a set of names)"),
    ],
    "dense_batches": [(1, TypeError, "1 (must be True or False)")],
    "blind": [
        ("zero", ValueError, "'zero' (must be one of 'zeros', 'nan', 'mean', 'undefined'; the nearest is 'zeros')"),
        (0, TypeError, "0 (must be one of 'zeros'"),
    ],
    "undefined": [
        (
            {"slots: minus one"},
            ValueError,
            "'slots: minus one' (must be a label of verification.problem.labels, as 'slot",
        ),
        ("slots: -1", TypeError, "as {'slots: -1'} is"),
        ({-1}, TypeError, "-1 (must be a label of verification.problem.labels"),
    ],
    "by_phase": [
        (
            {"prefil": {}},
            ValueError,
            "'prefil' (must be one of 'prefill', 'decode', 'chunked'; the nearest is 'prefill')",
        ),
        ({"prefill": {"phases": ("decode",)}}, ValueError, "'phases' (must be one of 'bitwise', 'refuses'"),
        ("prefill", TypeError, "'prefill' (must be a mapping of phases to fields"),
        (("prefill",), TypeError, "('prefill',) (must be a mapping of phases to fields"),
    ],
}


@pytest.mark.parametrize(("field", "value", "error", "part"), cases_of(MISSPELT))
def test_a_misspelt_field_is_one_line(field: str, value: object, error: type[Exception], part: str) -> None:
    """Where the contract is made."""
    check_refusal(GOOD, field, value, error, part)


def test_every_field_is_checked() -> None:
    """None can be added without."""
    check_table(Contract, MISSPELT)


def test_what_prints_on_many_lines_is_told_in_one() -> None:
    """As tensors do."""
    check_refusal(GOOD, "head_dims", (torch.zeros(9, 9),), TypeError, "tensor([[0., 0.,")


def test_any_collection_is_taken() -> None:
    """And kept as what a contract has; what comes in no order gets the same one in every process."""
    loose = Contract(
        {"float64", "float16", "float32"},  # type: ignore[arg-type]
        phases=["decode", "prefill"],  # type: ignore[arg-type]
        scoring=("window", "scale"),  # type: ignore[arg-type]
        undefined=["slots: -1"],  # type: ignore[arg-type]
        refuses=["q"],  # type: ignore[arg-type]
        head_dims={128, 16, np.int64(64)},  # type: ignore[arg-type]
        compiled_sizes=[[4, 2, 64, 32]],  # type: ignore[arg-type, list-item]
    )
    assert loose == Contract(
        ("float16", "float32", "float64"),
        ("decode", "prefill"),
        scoring=frozenset({"scale", "window"}),
        undefined=frozenset({"slots: -1"}),
        refuses=frozenset({"q"}),
        head_dims=(16, 64, 128),
        compiled_sizes=((4, 2, 64, 32),),
    )
    assert {type(size) for size in loose.head_dims} == {int}
    assert hash(loose)


def test_a_dense_batch_is_a_prefill() -> None:
    """Whatever else is said of phases says nothing."""
    assert Contract(("float16",), dense_batches=True).phases == ("prefill",)
    with pytest.raises(ValueError, match=r"phases: \('decode',\) \(must have 'prefill' in it"):
        Contract(("float16",), ("decode",), dense_batches=True)


def test_arguments_that_are_refused() -> None:
    """All, none, or some; of none it is as if it were False."""
    assert GOOD.refused == {misuse.argument for misuse in MISUSES.values()}
    assert not replace(GOOD, refuses=False).refused
    assert replace(GOOD, refuses={"q", "k"}).refused == {"q", "k"}
    assert replace(GOOD, refuses=set()).refuses is False


def test_tensors_that_may_not_be_there_are_those_that_are_watched() -> None:
    """Whatever is predicted begins as one of the list, and the list has no other."""
    bad = replace(DECODE, slot_mapping=(0, 99), block_tables=((2, 0), (99, 1)))
    cases = [PREFILL, bad]
    names = {p.tensor for problem in cases for p in expect(make_inputs(problem), Precision()).predictions}
    begins = {name: [stem for stem in WATCHED if name.startswith(stem)] for name in names}
    assert all(len(stems) == 1 for stems in begins.values()), begins
    assert {stem for stems in begins.values() for stem in stems} == set(WATCHED)


def test_of_what_it_speaks() -> None:
    """Formats, phases, head_dims; and NaN, Inf and narrow caches only where they are promised to behave."""
    every = Contract(("float16",))
    assert every.speaks_of(PREFILL)
    assert every.speaks_of(replace(PREFILL, specials=(NAN,)))
    assert not every.speaks_of(replace(PREFILL, dtype="float32"))
    assert not Contract(("float16",), phases=("decode",)).speaks_of(PREFILL)
    assert Contract(("float16",), phases=("decode",)).speaks_of(DECODE)
    assert not Contract(("float16",), head_dims=(16, 64)).speaks_of(PREFILL)
    assert Contract(("float16",), head_dims=(4, 64)).speaks_of(PREFILL)
    finite = dense_contract(("float32",))
    assert finite.speaks_of(replace(DECODE, dtype="float32"))
    assert not finite.speaks_of(replace(DECODE, dtype="float32", cache_dtype="float16"))
    assert not finite.speaks_of(replace(DECODE, dtype="float32", specials=(NAN,)))


@pytest.mark.parametrize(
    ("promises", "problem", "reason"),
    [
        ({"dtypes": ("float32",)}, PREFILL, "has no dtype float16"),
        ({"phases": ("decode",)}, PREFILL, "has no phase prefill"),
        ({"head_dims": (16,)}, PREFILL, "has no head_dim 4"),
        ({"compiled_sizes": ((2, 1, 8, 2),)}, DECODE, "is compiled for other sizes (H, G, D, S) than (2, 1, 4, 2)"),
        ({"compiled_sizes": ((2, 1, 4, 2),)}, replace(DECODE, cache_layout="interleaved"), "takes contiguous caches"),
        ({"nonfinite": False}, replace(PREFILL, specials=(NAN,)), "leaves NaN, Inf and narrow caches out"),
        ({}, replace(DECODE, scoring=Scoring(window=2)), "has no window in its scoring"),
        ({"dense_batches": True}, PREFILL, "takes dense batches alone"),
        ({"alignments": ("bottom_right",)}, PREFILL, "has no top_left alignment"),
        ({"longest": 2}, PREFILL, "takes no more than 2 tokens a sequence"),
        ({"undefined": {"slots: -1"}}, PREFILL, "leaves this undefined: slots: -1"),
    ],
)
def test_what_it_leaves_out_is_said(promises: dict[str, Any], problem: Problem, reason: str) -> None:
    """The reason is there where it does not speak of a problem, and empty where it does; in one phase as in all."""
    contract = replace(GOOD, **promises)
    assert contract.leaves_out(problem).startswith(f"the contract {reason}")
    assert not contract.speaks_of(problem)
    for_all = {"dtypes", "phases", "dense_batches"}
    if not for_all & promises.keys():
        assert GOOD.differing(problem.phase, **promises).leaves_out(problem) == contract.leaves_out(problem)
    plain = replace(GOOD, scoring={"window"})
    assert (plain.leaves_out(problem), plain.speaks_of(problem)) == ("", True)


def test_what_it_leaves_undefined() -> None:
    """By the labels of features; a misspelt one would leave nothing open."""
    padded = replace(DECODE, slot_mapping=(-1,) * DECODE.num_sequences)
    contract = Contract((DECODE.dtype,), undefined=frozenset({"slots: -1", "layout: fused"}))
    assert contract.leaves_open(padded) == ["slots: -1"]
    assert not contract.speaks_of(padded)
    assert not contract.leaves_open(replace(padded, slot_mapping=tuple(range(DECODE.num_sequences))))


def test_hidden_keys_of_a_dense_batch_are_the_kernels_own() -> None:
    """What lies in them is a promise about NaN; of paged ones it is not."""
    hidden = Problem("prefill", "float16", 1, 1, 1, (1,), (2,), poison=("nan", "nan"))
    assert Contract(("float16",), nonfinite=False).speaks_of(hidden)
    dense = Contract(("float16",), nonfinite=False, dense_batches=True)
    assert not dense.speaks_of(hidden)
    assert dense.speaks_of(replace(hidden, poison=("zero", "zero")))
    assert replace(dense, nonfinite=True).speaks_of(hidden)


def test_where_the_diagonal_lies_is_a_promise_of_prefills() -> None:
    """A decode's one query is the last."""
    contract = Contract((DECODE.dtype,), alignments=("bottom_right",))
    assert contract.speaks_of(DECODE)
    assert not contract.speaks_of(replace(PREFILL, causal_alignment="top_left"))


def test_how_long_a_sequence_may_be() -> None:
    """Its queries and its keys."""
    contract = Contract(("float16",), longest=3)
    long = [Problem("prefill", "float16", 1, 1, 1, lengths, lengths[::-1]) for lengths in ((3, 1), (4, 1), (1, 4))]
    assert [contract.speaks_of(problem) for problem in long] == [True, False, False]
    assert contract.speaks_of(Problem("prefill", "float16", 1, 1, 1, (), ()))


def test_what_lies_outside_is_said() -> None:
    """For reports."""
    assert Contract(("float16", "bfloat16", "float32", "float64")).outside == ("chunked",)
    little = Contract(("float32", "float64"), ("prefill",), nonfinite=False, head_dims=(16, 64), longest=9)
    sizes = "head_dims but 16, 64", "more than 9 tokens a sequence"
    assert little.outside == ("float16", "bfloat16", "decode", "chunked", *sizes, "NaN and Inf in tensors")
    assert replace(little, undefined=frozenset({"slots: -1"})).outside[-1] == "slots: -1"


@pytest.mark.parametrize("backend", [*cpu_kernels(), *cuda_kernels()], ids=lambda b: f"{b.name} {b.device}")
def test_a_kernel_is_one_of_its_device(backend) -> None:
    """But for those that are the same arithmetic everywhere: of the others no two devices have to agree."""
    other = {"cpu": "cuda", "cuda": "cpu"}[backend.device]
    assert backend.on(backend.device) == backend
    if backend.name in ("sdpa/math", "flex/eager"):
        assert backend.on(other).device == other
        return
    with pytest.raises(NotPortable, match=other):
        backend.on(other)
    if backend.device == "cuda":
        with pytest.raises(OutsideLaw):
            devices_agree(backend, PREFILL)


def test_an_import_knows_its_devices() -> None:
    """An error of one line."""
    with pytest.raises(UnknownBackend, match="is no kernel of other devices"):
        backend_named("tests.verification.backends.test_contract:FLASH", "cuda")


FLASH = cpu_kernels()[0]
