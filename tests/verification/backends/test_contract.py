"""What a contract promises something about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from properties.law import OutsideLaw
from properties.laws.devices import devices_agree
from tests.verification.samples import DECODE, PREFILL
from verification.backends.contract import Contract
from verification.backends.dense import dense_contract
from verification.backends.kernels import cpu_kernels, cuda_kernels
from verification.backends.protocol import NotPortable
from verification.catalogue import UnknownBackend, backend_named
from verification.problem import Problem, Special

NAN = Special("q", 0, 0, 0, "nan")


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


def test_what_it_leaves_undefined() -> None:
    """By the labels of features; a misspelt one would leave nothing open."""
    padded = replace(DECODE, slot_mapping=(-1,) * DECODE.num_sequences)
    contract = Contract((DECODE.dtype,), undefined=frozenset({"slots: -1", "layout: fused"}))
    assert contract.leaves_open(padded) == ["slots: -1"]
    assert not contract.speaks_of(padded)
    assert not contract.leaves_open(replace(padded, slot_mapping=tuple(range(DECODE.num_sequences))))
    with pytest.raises(ValueError, match="undefined: 'slots: minus one'"):
        Contract((), undefined=frozenset({"slots: minus one"}))


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
