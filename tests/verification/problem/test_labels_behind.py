"""Labels of what lies behind a window."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verification.samples import DECODE, PREFILL
from verification.backends.contract import Contract
from verification.problem import Problem, Special
from verification.problem.labels import FULL_NAMES, labels
from verification.problem.labels_behind import BAD_BLOCKS_BEHIND, LABELS_BEHIND, LARGE_BEHIND, NAN_BEHIND, labels_behind
from verification.problem.scoring import Scoring

# One token of a context of five in blocks of two: position 4 alone is seen, blocks of the first two columns are not.
ONE = replace(
    DECODE, query_lens=(1,), key_lens=(5,), block_tables=((1, 2, 0),), slot_mapping=(0,), scoring=Scoring(window=1)
)


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (ONE, []),
        (replace(ONE, poison=("zero", "nan")), [NAN_BEHIND]),
        (replace(ONE, poison=("nan", "zero")), [NAN_BEHIND]),
        (replace(ONE, poison=("negative", "large")), [LARGE_BEHIND]),
        (replace(ONE, poison=("nan", "nan"), scoring=Scoring(window=5)), []),
        (replace(ONE, poison=("nan", "nan"), scoring=Scoring()), []),
        (replace(ONE, poison=("nan", "nan"), misuse="q_rank"), []),
        (replace(ONE, specials=(Special("v_cache", 2, 0, 0, "inf"),)), [NAN_BEHIND]),
        (replace(ONE, specials=(Special("q", 0, 0, 0, "inf"),)), []),
        (replace(ONE, block_tables=((-1, 2, 0),)), [BAD_BLOCKS_BEHIND]),
        (replace(ONE, block_tables=((1, 4, 0),)), [BAD_BLOCKS_BEHIND]),
        (replace(ONE, block_tables=((0, 2, 0),)), [BAD_BLOCKS_BEHIND]),
        (replace(ONE, block_tables=((3, 3, 0),)), []),
        (replace(ONE, block_tables=((-1, 2, 0),), scoring=Scoring(window=4)), []),
        (replace(PREFILL, poison=("nan", "nan"), scoring=Scoring(window=1)), []),
        (
            replace(PREFILL, poison=("nan", "nan"), scoring=Scoring(window=1), causal_alignment="bottom_right"),
            [NAN_BEHIND],
        ),
    ],
)
def test_labels_by_hand(problem: Problem, expected: list[str]) -> None:
    """A window of four shows half of the first block, whose id is needed then."""
    assert labels_behind(problem) == expected


def _blocks(problem: Problem) -> set[str]:
    return {FULL_NAMES[i] for i in labels(problem) if FULL_NAMES[i].startswith("blocks: ")}


def test_blocks_behind_a_window_are_not_needed() -> None:
    """Their ids have no label of ids that are; those in the window have."""
    gone = replace(ONE, block_tables=((-1, 99, 0),))
    assert _blocks(gone) == {"blocks: in the cache"}
    assert _blocks(replace(gone, scoring=Scoring())) == {"blocks: -1", "blocks: too large"}


def test_a_special_behind_a_window_is_not_seen() -> None:
    """In the cache, at its slot; in a prefill, at its row."""
    for slot, label in ((2, "special: not seen"), (5, "special: not seen"), (0, "special: nan seen")):
        tensor = "k" if slot == 0 else "k_cache"
        planted = replace(ONE, specials=(Special(tensor, slot, 0, 0, "nan"),))
        assert label in {FULL_NAMES[i] for i in labels(planted)}
    rows = replace(PREFILL, causal_alignment="bottom_right", scoring=Scoring(window=1))
    for row, label in ((3, "special: not seen"), (4, "special: nan seen")):
        assert label in {FULL_NAMES[i] for i in labels(replace(rows, specials=(Special("k", row, 0, 0, "nan"),)))}


def test_a_contract_may_leave_them_out() -> None:
    """By their full names; one that is misspelt is refused."""
    bad = replace(ONE, block_tables=((-1, 2, 0),), poison=("nan", "large"))
    for label in LABELS_BEHIND:
        contract = Contract(("float16",), scoring=frozenset({"window"}), undefined=frozenset({label}))
        assert contract.leaves_open(bad) == [label]
        assert contract.defines(ONE)
    with pytest.raises(ValueError, match="behind a window"):
        Contract(("float16",), undefined=frozenset({"behind a window: nans"}))
