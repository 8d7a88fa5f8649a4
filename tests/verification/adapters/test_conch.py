"""conch's Triton kernels: what they are handed, by a stand-in; themselves, in the interpreter or on CUDA."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec

import pytest

from tests.verification.adapters import conch_in_torch
from tests.verification.adapters.laws import NAMES, keeps_the_laws
from verification.adapter import Contract, NotPortable, Tensors
from verification.adapters import conch
from verification.adapters.conch import Paged, Varlen
from verification.backends.observe import observe
from verification.oracle.expectation import expect
from verification.oracle.judge import judge_output, successful_output
from verification.oracle.violation import Violation
from verification.problem import Problem
from verification.tensors.inputs import make_inputs

NEEDED = pytest.mark.skipif(
    find_spec("conch") is None or find_spec("triton") is None, reason="conch and Triton are installed by hand"
)
INTERPRETED = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET=1 is not set")
OF_CHUNKS = ("the_future_does_not_matter", "a_chunk_is_its_decodes")
OF_PAGES = (*(name for name in NAMES if name not in OF_CHUNKS), "cache_is_exact", "block_ids_do_not_matter")
# A released store strides through the cache by the new keys' heads, and a released `varlen_attention` has the diagonal
# of a chunk top-left.
STORED_WRONG = "layout: transposed"


def without_transposed(contract: Contract, *phases: str) -> Contract:
    """Return the contract without what is known to break, so that all else is asked."""
    return replace(contract, phases=phases, undefined=contract.undefined | {STORED_WRONG})


class Decodes(Varlen):
    contract = without_transposed(Varlen.contract, "decode")


class Stores(Paged):
    contract = without_transposed(Paged.contract, "decode")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conch, "load_operations", lambda: conch_in_torch.STAND_IN)
    monkeypatch.setattr(Paged, "device", "cpu")


def chunk(**changes: object) -> Problem:
    """Two queries at the end of a context of 20 tokens, in blocks 3 and 1, and a decode beside them."""
    problem = Problem(
        phase="chunked",
        dtype="float16",
        num_heads=4,
        num_kv_heads=2,
        head_dim=64,
        query_lens=(2, 1),
        key_lens=(20, 3),
        block_size=16,
        num_blocks=4,
        slot_mapping=(18, 19, 2),
        block_tables=((3, 1), (0, -1)),
        score_fill="normal",
        value_fill="normal",
    )
    return replace(problem, **changes)  # type: ignore[arg-type]


def judge(backend: Paged, problem: Problem) -> None:
    inputs = make_inputs(problem)
    judge_output(successful_output(observe(backend, inputs)), expect(inputs, backend.precision))


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(("adapter", "dtype"), [(Paged, "float16"), (Varlen, "bfloat16")])
def test_hands_over_what_is_asked(adapter: type[Paged], dtype: str) -> None:
    """Tables, slots, lengths, scale and softcap, by a stand-in that takes conch's arguments."""
    chunks = OF_CHUNKS if "chunked" in adapter.contract.phases else ()
    keeps_the_laws(adapter(), dtype, 8, laws=(*OF_PAGES, *chunks))


@pytest.mark.usefixtures("stand_in")
def test_a_chunk_lies_bottom_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in is right, and wrong at another scale: what it returns is judged."""
    judge(Varlen(), chunk())
    scaled = conch_in_torch.STAND_IN._replace(varlen_attention=_attend_at_eight_times_the_scale)
    monkeypatch.setattr(conch, "load_operations", lambda: scaled)
    with pytest.raises(Violation):
        judge(Varlen(), chunk())


def _attend_at_eight_times_the_scale(*tensors: object, scale: float, **rules: object) -> object:
    attend: object = conch_in_torch.varlen_attention(*tensors, scale=8 * scale, **rules)  # type: ignore[arg-type]
    return attend


@pytest.mark.usefixtures("stand_in")
def test_new_tokens_are_stored_first() -> None:
    """At their slots; a call without a token stores and asks nothing."""
    seen: list[Tensors] = []

    class Watched(Varlen):
        def attend(self, problem: Problem, tensors: Tensors) -> object:  # type: ignore[override]
            seen.append(tensors)
            return super().attend(problem, tensors)

    judge(Watched(), chunk())
    k_cache, k = seen[0].held("k_cache", "k")
    assert k_cache.flatten(0, 1)[[18, 19, 2]].equal(k)
    judge(Watched(), chunk(query_lens=(0, 0), slot_mapping=()))
    assert len(seen) == 2


def test_it_runs_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless Triton interprets; then without what its interpreter cannot do."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(NotPortable, match="runs on cuda, and on cpu where TRITON_INTERPRET=1 is set"):
        Paged().on("cpu")
    assert Paged().on("cuda").contract == Paged.contract
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    made = Varlen().on("cpu")
    assert made.device == "cpu"
    assert made.on("cpu") is made
    assert made.contract.dtypes == ("float16", "float32")
    assert Varlen.contract.scoring - made.contract.scoring == {"softcap"}
    assert 0 < len(made.contract.compiled_sizes) < len(Varlen.contract.compiled_sizes)


@NEEDED
@INTERPRETED
@pytest.mark.parametrize("adapter", [Stores, Decodes])
def test_keeps_the_laws_in_the_interpreter(adapter: type[Paged]) -> None:
    keeps_the_laws(adapter().on("cpu"), "float16", 6, laws=OF_PAGES)


@NEEDED
@pytest.mark.parametrize("device", [pytest.param("cpu", marks=INTERPRETED), "cuda"])
def test_what_is_known_to_break(device: str, request: pytest.FixtureRequest) -> None:
    """A store of transposed keys, and a chunk of several queries that has a past; one of a query has not."""
    if device == "cuda":
        request.getfixturevalue("cuda_device")
    one = chunk(query_lens=(1, 1), slot_mapping=(19, 2))
    judge(Varlen().on(device), one)
    for broken in (chunk(), replace(one, layout="transposed")):
        with pytest.raises(Violation):
            judge(Varlen().on(device), broken)


@NEEDED
@pytest.mark.usefixtures("cuda_device")
@pytest.mark.parametrize("dtype", Paged.contract.dtypes)
@pytest.mark.parametrize("adapter", [Stores, Decodes])
def test_keeps_the_laws(adapter: type[Paged], dtype: str) -> None:
    keeps_the_laws(adapter(), dtype, laws=OF_PAGES)
