"""What problems try, by hand and by the thousand, and the pairs of it that are counted, kept and shown."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import combinations
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from tests.properties.edges import COMMON, DECODE, PREFILL, is_seen, is_shared
from tests.verification.samples import CHUNKED
from verification.backends.attn_core import AttnCore
from verification.problem import Problem, Special
from verification.problem.formats import FORMATS
from verification.problem.labels import FEATURES, FEW, LABELS, PAIRED, POSSIBLE, RULES, impossible, labels
from verification.problem.reading import ProblemError
from verification.records.coverage import Coverage, Matrix

PREFILL_ONE = Problem("prefill", "float16", 2, 1, 3, (2, 0), (5, 1), 4, 3, (0, 0, 5, -1, -2, 2**40), score_fill="steep")
NO_CACHE = Problem("prefill", "float64", 6, 2, 64, (1, 3, 4, 4), (4, 3, 2, 0), causal_alignment="bottom_right")
DECODE_ONE = Problem(
    "decode",
    "float32",
    1,
    1,
    1,
    (1, 1, 1),
    (3, 0, 4),
    2,
    40_000,
    (2, 80_000, -1),
    ((1, -1, -7), (7, 7, 40_000), (1, 39_999, 3)),
    cache_dtype="bfloat16",
    poison=("large", "zero"),
)
_NAMES = [": ".join(label) for label in LABELS]
RARE = 0.01


def index(feature: str, label: str) -> int:
    return LABELS.index((feature, label))


def of(problem: Problem, *features: str) -> dict[str, set[str]]:
    """Labels by feature; of all features that have one, unless some are named."""
    held = [LABELS[i] for i in labels(problem)]
    assert len(set(held)) == len(held)
    found = {name: {label for feature, label in held if feature == name} for name in FEATURES}
    return {name: some for name, some in found.items() if name in (features or FEATURES) and (some or features)}


@cache
def drawn() -> tuple[Problem, ...]:
    """As a run draws them: each law in each dtype, 75 problems."""
    found: list[Problem] = []
    contract = AttnCore().contract
    for number, law in enumerate(law for law in LAWS if law.asks(AttnCore())):
        for dtype in FORMATS:
            strategy = problems_within(contract, dtype, law.phases, law.plain, law.bad_input)
            try_each(strategy, found.append, number, 75)
    return tuple(found)


@cache
def tried() -> Coverage:
    return Coverage.of([[] if problem.misuse else labels(problem) for problem in drawn()])


def test_a_prefill_by_hand() -> None:
    """Two sequences: the second has no queries."""
    assert of(PREFILL_ONE) == {
        "dtype": {"float16"},
        "call": {"prefill top-left"},
        "sequences": {"2"},
        "queries and keys": {"1 < Lq < Lk", "no queries"},
        "H/G": {"2"},
        "G": {"1"},
        "head_dim": {"3"},
        "keys": {"S+1", "other"},
        "slots": {"in the cache", "twice", "-1", "< -1", "too large", "past 32 bits"},
        "cache": {"own dtype"},
        "layout": {"contiguous"},
        "cache layout": {"contiguous"},
        "poison around k": {"zero"},
        "poison around v": {"zero"},
        "score fill": {"steep"},
        "value fill": {"ones"},
        "special": {"none"},
        "indices": {"int64"},
    }


def test_a_prefill_without_a_cache_by_hand() -> None:
    """No slots, no blocks, no layout of it; four sequences have no label."""
    found = of(NO_CACHE)
    assert found["queries and keys"] == {"1 = Lq < Lk", "Lq = Lk", "Lq > Lk", "no keys"}
    assert found["call"] == {"prefill bottom-right"}
    assert found["keys"] == {"0"}
    assert (found["H/G"], found["G"], found["cache"]) == ({"3"}, {"several"}, {"none"})
    assert found["large"] == {"prefill, kernel", "prefill, unequal lengths"}
    assert not found.keys() & {"sequences", "slots", "blocks", "block size", "cache layout"}


def test_a_decode_by_hand() -> None:
    """Three contexts over a shared block, a bad one needed, and bad ones not needed."""
    found = of(DECODE_ONE)
    assert found["call"] == {"decode"}
    assert found["sequences"] == {"3", "no keys between others"}
    assert found["keys"] == {"0", "S+1", "2S"}
    assert found["blocks"] == {"-1", "bad and not needed", "> 32767", "in the cache", "shared"}
    assert found["slots"] == {"in the cache", "-1", "too large"}
    assert (found["cache"], found["poison around k"], found["poison around v"]) == ({"bfloat16"}, {"large"}, {"zero"})
    assert "queries and keys" not in found


@pytest.mark.parametrize(
    ("row", "length", "expected"),
    [
        ((0, 1), 4, {"in the cache"}),
        ((1, 0), 4, {"in the cache", "out of order"}),
        ((1, 1), 4, {"in the cache", "out of order"}),
        ((1, 0), 2, {"in the cache"}),
        ((1, -1), 2, {"in the cache", "bad and not needed"}),
        ((1, 3), 3, {"too large"}),
        ((-2, 1), 3, {"< -1"}),
        ((1, -1), 5, {"-1", "table too short"}),
        ((1, 2), 0, set()),
    ],
)
def test_blocks(row: tuple[int, ...], length: int, expected: set[str]) -> None:
    """In a cache of three blocks of two."""
    problem = Problem("decode", "float16", 1, 1, 1, (1,), (length,), 2, 3, (-1,), (row,))
    assert of(problem, "blocks") == {"blocks": expected}


@pytest.mark.parametrize(
    ("size", "length", "expected"),
    [
        *((4, length, label) for length, label in ((0, {"0"}), (3, {"S-1"}), (4, {"S"}), (5, {"S+1"}), (8, {"2S"}))),
        (4, 2, {"other"}),
        (4, 257, {"other", "> 256"}),
        (256, 256, {"S"}),
        (256, 257, {"S+1", "> 256"}),
        (1, 0, {"0"}),
        (1, 2, {"S+1", "2S"}),
    ],
)
def test_lengths_beside_a_block(size: int, length: int, expected: set[str]) -> None:
    """Nothing is S-1 where that is 0."""
    assert of(replace(PREFILL_ONE, block_size=size, key_lens=(length,), query_lens=(1,)), "keys") == {"keys": expected}


def test_what_nobody_draws_has_no_label() -> None:
    """Nor are there numbers without a key and a query."""
    odd = replace(PREFILL_ONE, head_dim=7, block_size=5, num_heads=7, query_lens=(0, 0))
    assert not any(of(odd, "head_dim", "block size", "H/G", "score fill", "value fill").values())


@pytest.mark.parametrize("problem", [PREFILL_ONE, DECODE_ONE, CHUNKED])
def test_a_misuse_has_the_labels_of_the_call_that_it_is_made_of(problem: Problem) -> None:
    """So that a contract that leaves something out is not asked to refuse it in such a call."""
    assert set(labels(replace(problem, misuse="q_rank"))) == set(labels(problem))


def test_a_chunk_by_hand() -> None:
    """A sequence without new tokens has no queries; of how many queries and keys others have, nothing is told."""
    assert of(CHUNKED, "queries and keys") == {"queries and keys": {"no queries"}}
    with_new = replace(CHUNKED, query_lens=(2, 1, 1), slot_mapping=(5, 0, 7, 3))
    assert of(with_new, "queries and keys") == {"queries and keys": set()}
    assert of(DECODE_ONE, "queries and keys") == {"queries and keys": set()}


def test_specials_by_hand() -> None:
    """One is behind the last query's key, the other is not."""
    for row, label in ((1, "inf seen"), (2, "not seen"), (5, "not seen")):
        assert of(replace(PREFILL_ONE, specials=(Special("k", row, 0, 0, "inf"),)), "special")["special"] == {label}
    both = (Special("q", 0, 0, 0, "nan"), Special("k_cache", 1, 0, 0, "nan"))
    assert of(replace(PREFILL_ONE, specials=both), "special")["special"] == {"nan seen", "not seen"}


# Labels that say what an edge of `tests.properties.edges` says.
SAME: dict[str, str] = {
    "slots: < -1": "slot < -1",
    "slots: too large": "slot too large",
    "slots: past 32 bits": "slot past 32 bits",
    "slots: twice": "slot twice",
    "blocks: -1": "block -1 needed",
    "blocks: < -1": "block < -1 needed",
    "blocks: too large": "block too large needed",
    "blocks: table too short": "table too short",
    "blocks: > 32767": "block > 32767",
    "blocks: out of order": "blocks out of order",
    "blocks: bad and not needed": "hostile block not needed",
    "sequences: no keys between others": "an empty sequence between others",
    "cache: none": "no cache",
}


def test_labels_say_what_the_edges_say() -> None:
    """Of every ninth problem, two texts that share no line; and both ways, so neither is empty."""
    seen: set[tuple[str, bool]] = set()
    for problem in drawn()[::9]:
        if problem.misuse:
            continue
        edges = COMMON | (DECODE if problem.phase == "decode" else PREFILL)
        held = {_NAMES[i] for i in labels(problem)}
        for label, edge in SAME.items():
            if edge in edges:
                assert (label in held) == edges[edge](problem), (label, problem)
                seen.add((label, label in held))
        if problem.phase == "decode":
            assert ("blocks: shared" in held) == is_shared(problem)
        expected = {f"{s.value} seen" if is_seen(problem, s) else "not seen" for s in problem.specials} or {"none"}
        assert of(problem, "special")["special"] == expected
    assert len(seen) == 2 * len(SAME)


def test_no_problem_has_an_impossible_pair() -> None:
    """Each rule speaks of labels that there are, and says why."""
    counts = tried().counts
    for a, b in combinations(range(len(LABELS)), 2):
        assert impossible(a, b) == impossible(b, a)
        assert impossible(a, b) in ("", FEW) or not counts[a, b], (LABELS[a], LABELS[b], impossible(a, b))
    assert all(reason and one[0] in FEATURES and other[0] in FEATURES for reason, one, other in RULES)
    assert "decode" in impossible(index("call", "decode"), index("cache", "none"))
    assert impossible(index("call", "decode"), index("cache", "own dtype")) == ""


def test_most_possible_pairs_are_tried() -> None:
    """99 in 100 by 7,000 problems; of 60,000, as a run of minutes tries, each by more than 30."""
    assert 7000 <= len(drawn()) < 8000
    assert {int(i) for i in POSSIBLE.reshape(-1)} == {i for i, (feature, _) in enumerate(LABELS) if feature != "large"}
    assert all(LABELS[a][0] != LABELS[b][0] and not impossible(a, b) for a, b in POSSIBLE.tolist())
    assert len(tried().untried()) < RARE * len(POSSIBLE)


def test_labels_cost_next_to_nothing() -> None:
    """Beside three milliseconds a problem."""
    problems = drawn()
    start = perf_counter()
    for problem in problems:
        labels(problem)
    assert (perf_counter() - start) / len(problems) < 2e-4


ROWS = [[0, 5, 9], [0, 5], [], [9]]


def test_pairs_are_counted() -> None:
    """The diagonal counts labels; a label twice is one."""
    coverage = Coverage.of([*ROWS, [5, 5]])
    expected = np.zeros((len(LABELS), len(LABELS)), int)
    expected[[0, 5, 9], [0, 5, 9]] = 2, 3, 2
    expected[[0, 5], [5, 0]] = 2
    expected[[0, 9, 5, 9], [9, 0, 9, 5]] = 1
    assert coverage.problems == 5
    assert coverage.counts.dtype == np.int64
    assert (coverage.counts == expected).all()
    assert (Coverage.of([]).problems, Coverage.of([]).counts.sum()) == (0, 0)


def test_coverages_add_up() -> None:
    """As if all problems had been counted at once."""
    total = Coverage.of(ROWS[:1]) + Coverage.of(ROWS[1:])
    assert total.to_dict() == Coverage.of(ROWS).to_dict()
    assert total.problems == 4


def test_what_is_kept_is_read_again() -> None:
    """Through JSON, also in another order of labels and with fewer of them."""
    kept = tried().to_dict()
    again = Coverage.from_dict(json.loads(json.dumps(kept)))
    assert again.problems == tried().problems
    assert (again.counts == tried().counts).all()
    assert len(json.dumps(kept)) < 50_000
    fewer = Coverage.from_dict({"problems": 7, "labels": [_NAMES[9], _NAMES[5]], "counts": [[4, 3], [6]]})
    assert (fewer.counts[9, 9], fewer.counts[5, 9], fewer.counts[9, 5], fewer.counts[5, 5]) == (4, 3, 3, 6)
    assert fewer.counts.sum() == 16


def hostile(**changes: Any) -> Any:
    return {"problems": 3, "labels": _NAMES[:2], "counts": [[2, 1], [1]], **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "coverage: None"),
        ([], "coverage: []"),
        ({"problems": 3}, "coverage: {'problems': 3}"),
        (hostile(more=1), "coverage: "),
        *((hostile(problems=bad), "problems: ") for bad in (-1, True, 2.0, "3", None, 2**60)),
        *((hostile(labels=bad), "labels: ") for bad in ("dtype: float16", None, {})),
        (hostile(labels=[_NAMES[0], "dtype: float8"]), "labels[1]: 'dtype: float8'"),
        (hostile(labels=[_NAMES[0]] * 2), "labels[1]: 'dtype: float16'"),
        (hostile(labels=[[], 1]), "labels[0]: []"),
        *((hostile(counts=bad), "counts: ") for bad in (None, {}, [], [[2, 1]], [[2, 1], [1], []])),
        *((hostile(counts=bad), "counts[0]: ") for bad in ([[2], [1]], ["21", [1]], [[2, 1, 0], [1]], [[4, 1], [1]])),
        *((hostile(counts=[[2, 1], [bad]]), "counts[1]: ") for bad in (-1, True, 1.0, "1", None, 10**40)),
        (hostile(counts=[[2, 2], [1]]), "counts: 2 have both"),
        (hostile(counts=[[1, 2], [2]]), "counts: 2 have both"),
    ],
)
def test_what_is_no_coverage_is_refused_in_a_line(data: Any, message: str) -> None:
    """Which names the field."""
    with pytest.raises(ProblemError) as caught:
        Coverage.from_dict(data)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_what_was_not_tried() -> None:
    """Every possible pair of nothing; one less with one."""
    untried = Coverage.of([]).untried()
    assert len(untried) == len(set(untried)) == len(POSSIBLE)
    pair = [index("dtype", "float16"), index("call", "decode")]
    one = Coverage.of([pair]).untried()
    assert set(untried) - set(one) == {("dtype: float16", "call: decode")}


def test_a_page_shows_every_pair_of_features() -> None:
    """A matrix each; where nothing can be tried, None, unless it was."""
    both = [index("call", "decode"), index("cache", "own dtype")]
    never = [index("call", "decode"), index("cache", "none")]
    shown = {(m.rows, m.columns): m for m in Coverage.of([both, both, never]).matrices()}
    assert len(shown) == len(PAIRED) * (len(PAIRED) - 1) // 2
    assert shown["call", "cache"] == Matrix("call", "cache", [[0, 0, 0, 0], [0, 0, 0, 0], [1, 2, 0, 0]])
    empty = {(m.rows, m.columns): m.counts for m in Coverage.of([]).matrices()}
    assert empty["call", "cache"][2] == [None, 0, 0, 0]
    assert empty["queries and keys", "blocks"] == [[None] * len(FEATURES["blocks"])] * len(FEATURES["queries and keys"])
