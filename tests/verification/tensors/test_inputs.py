"""The numbers of a problem: repeatable, and poison wherever nobody sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis.strategies import sampled_from

from properties.generate.strategies import problems
from tests.properties.generated import over
from tests.verification.exact import seen_by_each_query
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.problem import Numbers, Problem, Special
from verification.problem.formats import FORMATS
from verification.problem.reading import ProblemError
from verification.problem.scoring import PLAIN, Scoring
from verification.problem.validate import check_problem
from verification.tensors.inputs import POISON_BYTE, make_inputs

ARRAYS = ("q", "k", "v", "k_cache", "v_cache", "cu_seqlens_q", "cu_seqlens_k", "slot_mapping", "block_tables")
_dtype = sampled_from(tuple(FORMATS)).flatmap(problems)


@over(150, _dtype)
def test_equal_problems_make_equal_bits(problem: Problem) -> None:
    """Nothing but the problem has a say."""
    first, second = make_inputs(problem), make_inputs(problem)
    assert all(getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in ARRAYS)


@over(100, _dtype)
def test_where_tensors_lie_does_not_change_their_numbers(problem: Problem) -> None:
    """Layouts and the dtype of indices are no part of the numbers."""
    plain = replace(problem, layout="contiguous", cache_layout="contiguous")
    first, second = make_inputs(problem), make_inputs(plain)
    assert all(getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in ARRAYS)


def test_seeds_make_other_numbers() -> None:
    """And only the numbers: indices stay."""
    first, second = make_inputs(PREFILL), make_inputs(replace(PREFILL, seed=8))
    assert not np.array_equal(first.q, second.q)
    assert np.array_equal(first.slot_mapping, second.slot_mapping)


@over(100, _dtype)
def test_shapes_and_dtypes(problem: Problem) -> None:
    """As the contract of the layer has them."""
    inputs, tokens = make_inputs(problem), problem.num_new_keys
    kv = (problem.num_kv_heads, problem.head_dim)
    assert inputs.q.shape == (problem.num_queries, problem.num_heads, problem.head_dim)
    assert inputs.k.shape == inputs.v.shape == (tokens, *kv)
    assert inputs.k_cache.shape == inputs.v_cache.shape == (problem.num_blocks, problem.block_size, *kv)
    assert {x.dtype for x in (inputs.q, inputs.k, inputs.v)} == {FORMATS[problem.dtype].numpy}
    assert inputs.k_cache.dtype == inputs.v_cache.dtype == FORMATS[problem.cache_format].numpy
    indices = (inputs.cu_seqlens_q, inputs.cu_seqlens_k, inputs.slot_mapping, inputs.context_lens, inputs.block_tables)
    assert {x.dtype for x in indices} == {np.dtype(problem.index_dtype)}


@over(80, problems("float16", plain=True))
def test_what_is_seen_is_finite_and_what_is_not_is_poison(problem: Problem) -> None:
    """Row by row of k and v, or of the caches before a call that stores nothing. Rows are known by their address."""
    problem = replace(problem, poison=("nan", "large"), slot_mapping=(-1,) * len(problem.slot_mapping))
    inputs = make_inputs(problem)
    seen = {address(x): x for rows in seen_by_each_query(inputs) for pair in rows for x in pair}
    assert all(np.isfinite(x).all() for x in seen.values())
    names = ("k", "v") if problem.phase == "prefill" else ("k_cache", "v_cache")
    for name, poison in zip(names, problem.poison, strict=True):
        array = getattr(inputs, name)
        hidden = [row for row in array.reshape(-1, *array.shape[-2:]) if address(row) not in seen]
        assert {byte for row in hidden for byte in row.tobytes()} <= {POISON_BYTE[poison]}


def address(row: np.ndarray) -> int:
    """Where it lies in memory."""
    return int(row.__array_interface__["data"][0])


@pytest.mark.parametrize("dtype", FORMATS)
def test_poison_is_what_it_is_called(dtype: str) -> None:
    """NaN, large, negative or zero in every format."""
    fmt = FORMATS[dtype]

    def poison(kind: str) -> float:
        return float(np.full(fmt.numpy.itemsize, POISON_BYTE[kind], np.uint8).view(fmt.numpy)[0])

    assert np.isnan(poison("nan"))
    assert poison("zero") == 0
    assert 6e4 < poison("large") <= fmt.largest
    assert -fmt.largest <= poison("negative") < -6e4


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_poison_is_a_hostile_index(dtype: str) -> None:
    """-1, or far out of range either way."""
    words = {kind: int(np.full(8, byte, np.uint8).view(dtype)[0]) for kind, byte in POISON_BYTE.items()}
    assert words["nan"] == -1
    assert words["negative"] < -(2**24) < 2**24 < words["large"]
    assert words["zero"] == 0


def test_specials_are_planted() -> None:
    """Tokens in q, k, v; slots in a cache."""
    at = {"q": (3, 1, 2), "v": (4, 0, 0), "k_cache": (5, 0, 3)}
    planted = tuple(Special(name, *where, "-inf") for name, where in at.items())  # type: ignore[arg-type]
    inputs = make_inputs(replace(PREFILL, specials=planted))
    assert inputs.q[at["q"]] == inputs.v[at["v"]] == inputs.k_cache[2, 1, 0, 3] == -np.inf
    assert np.isneginf(inputs.q).sum() == np.isneginf(inputs.v).sum() == 1


def test_visible_slots_by_hand() -> None:
    """Position t is in block t // S at offset t % S; the block 99 is not in the cache, and not needed."""
    assert [slots.tolist() for slots in make_inputs(DECODE).visible_slots] == [[4, 5, 0], [2, 3]]


WINDOWED = replace(
    DECODE,
    query_lens=(1, 1),
    key_lens=(5, 2),
    block_tables=((1, 2, 0), (3, -1, -1)),
    slot_mapping=(0, 7),
    poison=("nan", "large"),
    scoring=Scoring(window=2),
)


def test_slots_behind_a_window_hold_poison() -> None:
    """Position 3 and 4 of the first sequence are seen, and both of the second: slots 5, 0, 6 and 7."""
    inputs = make_inputs(WINDOWED)
    assert [slots.tolist() for slots in inputs.visible_slots] == [[5, 0], [6, 7]]
    assert [slots.tolist() for slots in inputs.held_slots] == [[2, 3, 4, 5, 0], [6, 7]]
    keys, values = (x.reshape(8, 4).astype(float) for x in (inputs.k_cache, inputs.v_cache))
    seen = np.isin(np.arange(8), [0, 5, 6, 7])
    assert np.isfinite(keys[seen]).all()
    assert np.isnan(keys[~seen]).all()
    assert (np.abs(values[seen]) < 1e3).all()
    assert (values[~seen] > 6e4).all()


def test_what_one_sequence_sees_is_no_poison_to_another() -> None:
    """The second one sees what lies behind the window of the first."""
    shared = replace(WINDOWED, block_tables=((1, 2, 0), (1, -1, -1)), slot_mapping=(0, 3))
    assert make_inputs(shared).seen_slots.tolist() == [0, 2, 3, 5]
    assert np.isfinite(make_inputs(shared).k_cache.reshape(8, 4)[[2, 3]].astype(float)).all()


@pytest.mark.parametrize(("alignment", "hidden"), [("bottom_right", [0, 1]), ("top_left", [2, 3, 4]), ("none", [0, 1])])
def test_keys_of_a_prefill_behind_a_window_hold_poison(alignment: str, hidden: list[int]) -> None:
    """Two queries over five keys with a window of two; top-left, no key is in front of the first query."""
    problem = one_head(queries=2, keys=5, poison=("nan", "nan"), scoring=Scoring(window=2))
    inputs = make_inputs(replace(problem, causal_alignment=alignment))
    for array in (inputs.k, inputs.v):
        assert np.flatnonzero(np.isnan(array.astype(float).reshape(-1))).tolist() == hidden


def test_written_numbers_are_those_of_the_slots_in_the_window() -> None:
    """As many as are seen, or the problem is refused."""
    given = Numbers("v_cache", tuple(map(float, range(16))))
    problem = check_problem(replace(WINDOWED, numbers=(given,)))
    assert make_inputs(problem).v_cache.reshape(8, 4)[[0, 5, 6, 7]].reshape(-1).tolist() == list(given.values)
    with pytest.raises(ProblemError, match="numbers"):
        check_problem(replace(problem, scoring=PLAIN))


def test_given_numbers_replace_what_the_seed_gives() -> None:
    """All of q; of a cache, what is seen, by slot; the rest keeps its poison."""
    given = tuple(float(i) for i in range(16)), tuple(float(i) for i in range(20))
    plain = make_inputs(replace(DECODE, poison=("nan", "nan")))
    problem = replace(DECODE, poison=("nan", "nan"), numbers=(Numbers("q", given[0]), Numbers("v_cache", given[1])))
    inputs = make_inputs(problem)
    assert inputs.q.reshape(-1).tolist() == list(given[0])
    assert inputs.seen_slots.tolist() == [0, 2, 3, 4, 5]
    slots = inputs.v_cache.reshape(-1, 4)
    assert slots[[0, 2, 3, 4, 5]].reshape(-1).tolist() == list(given[1])
    assert np.isnan(slots[[1, 6, 7]].astype(float)).all()
    for name in ("k", "v", "k_cache"):
        assert getattr(inputs, name).tobytes() == getattr(plain, name).tobytes()
