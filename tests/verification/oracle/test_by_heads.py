"""The reference where the backend is: cut along heads, by NumPy or by torch, it is one."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis.strategies import sampled_from

from properties.generate.strategies import problems
from tests.properties.generated import over
from tests.verification.oracle.large import decode, prefill
from verification.oracle import by_heads, expectation
from verification.oracle.by_heads import cut_heads, move
from verification.oracle.expectation import Expectation, choose_device, expect
from verification.oracle.precision import INPUT, Precision
from verification.oracle.reference import attend
from verification.problem import Problem, Scoring
from verification.problem.describe import describe
from verification.problem.large import size_of
from verification.tensors.inputs import make_inputs

FLOAT64, SHARP, WIDE = (
    Precision("float64", "float64", "float64", "float64"),
    Precision(),
    Precision(probabilities=INPUT, truncating=True),
)
# A group of 4 with equal and unequal lengths; a group that is cut; rows of windows and of sinks; values with an Inf.
LARGE = {
    "decode": decode((32, 8), 128, 16, (15, 15, 300, 15)),
    "long": decode((8, 1), 32, 16, (2000,)),
    "prefill": prefill((8, 2), 64, (60, 60), (127, 127)),
    "window": prefill((8, 2), 64, (100,), (130,), scoring=Scoring(window=33, softcap=3.0)),
    "sinks": prefill((8, 2), 64, (90, 90), (90, 90), scoring=Scoring(sinks=True, alibi=True)),
}


@pytest.fixture
def nothing_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectation, "LEAST_ON_DEVICE", 0)


def assert_one(problem: Problem, one: Expectation, other: Expectation) -> None:
    """|one - other| within what the bound allows a float64 backend, and below 2^-10 of the bound that is judged by."""
    inputs = make_inputs(problem)
    with np.errstate(all="ignore"):
        allowed = expect(inputs, FLOAT64).bound
        judged = one.bound
        open_ended = judged == np.inf
        assert (open_ended == (other.bound == np.inf)).all(), describe(problem)
        same = (one.exact == other.exact) | (np.isnan(one.exact) & np.isnan(other.exact)) | open_ended
        apart = np.where(same, 0.0, np.abs(one.exact - other.exact))
        assert (apart <= allowed).all(), describe(problem)
        assert (apart <= judged / 2**10).all(), describe(problem)
        assert (np.where(open_ended, 0.0, np.abs(judged - other.bound)) <= judged / 2**10).all(), describe(problem)
    owed = [[(p.tensor, p.owed) for p in x.predictions] for x in (one, other)]
    assert owed[0] == owed[1], describe(problem)


@pytest.mark.usefixtures("nothing_too_small")
@pytest.mark.parametrize("precision", [SHARP, Precision(scores=INPUT, probabilities=INPUT, scaled_query=True)])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_torch_is_held_to_numpy(device: str, precision: Precision, request: pytest.FixtureRequest) -> None:
    """On whatever is generated but in float64, which NumPy is asked wherever the backend is."""
    if device == "cuda":
        request.getfixturevalue("cuda_device")

    @over(100, sampled_from(("float16", "bfloat16", "float32")).flatmap(problems))
    def check(problem: Problem) -> None:
        inputs = make_inputs(problem)
        assert_one(problem, expect(inputs, precision), expect(inputs, precision, device))

    check()


@pytest.mark.usefixtures("nothing_too_small")
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_torch_is_held_to_numpy_where_it_is_asked(name: str, device: str, request: pytest.FixtureRequest) -> None:
    if device == "cuda":
        request.getfixturevalue("cuda_device")
    problem = LARGE[name]
    assert size_of(problem) != "tiny"
    inputs = make_inputs(problem)
    inputs.v[0, 0, 0] = np.inf
    assert_one(problem, expect(inputs, WIDE), expect(inputs, WIDE, device))


@pytest.mark.parametrize("name", LARGE)
def test_a_cut_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each head alone, some of a group, or all at once; each sequence alone or beside its like."""
    problem = LARGE[name]
    inputs = make_inputs(problem)
    found = [expect(inputs, WIDE)]
    for sizes in ((1, 1), (2**12, 2**40), (2**40, 2**40)):
        monkeypatch.setattr(by_heads, "_IN_CACHE", sizes)
        found.append(expect(inputs, WIDE))
    for other in found[1:]:
        assert_one(problem, found[0], other)
        for (_, one), (_, cut) in zip(found[0].sequences, other.sequences, strict=True):
            assert one.weights.shape == cut.weights.shape
            assert np.allclose(one.scores, cut.scores, rtol=1e-12, atol=1e-12)
            assert np.allclose(one.weights, cut.weights, rtol=1e-12, atol=1e-12)


def test_sequences_that_are_alike_keep_their_own_answers() -> None:
    """As if each had come alone; they differ."""
    problem = LARGE["prefill"]
    inputs = make_inputs(problem)
    both, one = expect(inputs, WIDE).exact, prefill((8, 2), 64, (60,), (127,))
    for i in range(2):
        alone = replace(make_inputs(one), q=inputs.q[60 * i :][:60], k=inputs.k[127 * i :][:127])
        alone = replace(alone, v=inputs.v[127 * i :][:127])
        assert np.allclose(both[60 * i :][:60], expect(alone, WIDE).exact, rtol=1e-13, atol=1e-13)
    assert not np.allclose(both[:60], both[60:])


@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize(
    "sizes", [(32, 8, 1, 10), (8, 1, 60, 1024), (8, 1, 700, 900), (6, 2, 5000, 7000), (28, 4, 0, 9)]
)
def test_each_head_is_in_one_piece(sizes: tuple[int, int, int, int], on_device: bool) -> None:
    heads, kv_heads, queries, keys = sizes
    pieces = list(cut_heads(heads, kv_heads, queries, keys, 128, on_device))
    assert [h for piece in pieces for h in range(heads)[piece.heads]] == list(range(heads))
    for piece in pieces:
        read = {h * kv_heads // heads for h in range(heads)[piece.heads]}
        assert read == set(range(kv_heads)[piece.kv_heads])
        assert (piece.heads.stop - piece.heads.start) % len(read) == 0


@pytest.mark.parametrize("sizes", [(4, 120, 256, 32), (1, 64, 4096, 8), (2, 2, 900, 128)])
def test_a_piece_takes_what_is_said(sizes: tuple[int, int, int, int]) -> None:
    """At its peak; a device's pieces are cut by it, so that it holds `MOST_BYTES`."""
    heads, queries, keys, dim = sizes
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((heads, length, dim)) for length in (queries, keys, keys))
    counts = np.arange(queries) + 1 + keys - queries
    tracemalloc.start()
    attend(np, q, k, v, counts, 0.1, WIDE.resolve("float16"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    said = by_heads._FOR_A_SCORE * heads * queries * (keys + dim) + by_heads._FOR_A_KEY * heads * keys * dim
    assert said / 4 < peak / 8 < said


def test_pieces_of_a_device_fit() -> None:
    """Where a head does, the numbers of its pieces are at most `MOST_BYTES`."""
    heads, kv_heads, queries, keys, dim = 32, 8, 512, 4096, 128
    pieces = list(cut_heads(heads, kv_heads, queries, keys, dim, on_device=True))
    assert len(pieces) > 1
    for piece in pieces:
        own, read = (part.stop - part.start for part in (piece.heads, piece.kv_heads))
        numbers = by_heads._FOR_A_SCORE * own * queries * (keys + dim) + by_heads._FOR_A_KEY * read * keys * dim
        assert 8 * numbers <= by_heads.MOST_BYTES or own == 1


def test_a_backend_is_not_its_own_reference() -> None:
    """NumPy is asked in float64, for a sample, for what is tiny, and wherever there is no device."""
    large = replace(LARGE["decode"], seed=17)
    assert choose_device(large, "cuda") == "cuda"
    assert choose_device(large, "cpu") is None
    for other in (replace(large, dtype="float64"), replace(large, seed=0), replace(large, seed=32)):
        assert choose_device(other, "cuda") is None
    assert choose_device(prefill((1, 1), 8, (3,), (3,), seed=17), "cuda") is None


def test_small_sequences_stay_with_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a large one that goes to the device."""
    asked = []

    def watched(device: str | None, q: np.ndarray, k: np.ndarray, *others: object) -> object:
        asked.append((len(k), device))
        return by_heads.attend_by_heads(None, q, k, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(expectation, "attend_by_heads", watched)
    expect(make_inputs(decode((32, 8), 128, 16, (15, 300))), WIDE, "cuda")
    assert asked == [(15, None), (300, "cuda")]


def test_a_full_device_leaves_the_answer_to_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    inputs = make_inputs(LARGE["sinks"])
    expected = expect(inputs, WIDE)
    monkeypatch.setattr(by_heads, "move", fill)
    assert_one(inputs.problem, expected, expect(inputs, WIDE, "cuda"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_numbers_are_moved_as_they_are(dtype: str) -> None:
    """Every bit, NaN too; strides do not matter."""
    q = make_inputs(replace(LARGE["long"], dtype=dtype)).q
    q[0, 0, :2] = np.nan, -np.inf
    moved = move(q.swapaxes(0, 1), "cpu").double().numpy()
    assert np.array_equal(moved, q.swapaxes(0, 1).astype(np.float64), equal_nan=True)
