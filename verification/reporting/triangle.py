"""Coverage as one triangle: every label against every label of another feature, and the labels of large problems, which
are few and counted alone. Plain data for the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from verification.problem.labels import FULL_NAMES, INDEX, LABELS, PAIRED, POSSIBLE, impossible
from verification.records.coverage import Coverage, LeftOut, can_be_asked

_RAREST = 20


class Square(NamedTuple):
    """Square of the triangle; ``kind`` is a class of the style sheet: never tried, left out, impossible, same feature,
    or a power of ten.
    """

    kind: str
    text: str
    title: str


@dataclass(frozen=True)
class Triangle:
    """Every label against every label of another feature, as the page draws it."""

    problems: int
    """How many problems were tried."""
    possible: int
    """How many pairs of labels a problem can have."""
    columns: dict[str, tuple[str, ...]]
    """Labels by feature, in order."""
    starts: list[int]
    """Columns at which another feature begins."""
    rows: dict[str, dict[str, list[Square]]]
    """By feature: each label with its squares, of the labels before it and of itself."""
    large: dict[str, int]
    """How many large problems had each of their labels."""
    rarest: list[tuple[str, str, int]]
    """Pairs that were tried least often of those tried, and how often."""
    untried: dict[str, list[str]]
    """Pairs that were never tried, by their first label."""
    never: int
    """How many pairs were never tried, though some kind of call could have had them."""
    left_out: int
    """How many pairs were left out: no contract or no chosen cell speaks of them."""

    @property
    def tried(self) -> int:
        """Return how many pairs were tried."""
        return self.possible - self.never - self.left_out


def triangle(coverage: Coverage, left_out: LeftOut = ()) -> Triangle:
    """Return the triangle of a coverage; ``left_out`` are the labels that each kind of call could not have."""
    untried, asked = coverage.untried(left_out), can_be_asked(left_out)
    return Triangle(
        problems=coverage.problems,
        possible=len(POSSIBLE),
        columns=PAIRED,
        starts=[0, *accumulate(map(len, PAIRED.values()))][1:-1],
        rows={
            feature: {label: _squares(coverage, asked, INDEX[feature][label]) for label in labels}
            for feature, labels in PAIRED.items()
        },
        large={label: int(coverage.counts[index, index]) for label, index in INDEX["large"].items()},
        rarest=_rarest(coverage),
        untried={one: [other for _, other in pairs] for one, pairs in groupby(untried, lambda pair: pair[0])},
        never=len(untried),
        left_out=len(coverage.untried()) - len(untried),
    )


def _squares(coverage: Coverage, asked: NDArray[np.bool_], row: int) -> list[Square]:
    return [_square(coverage, bool(asked[row, column]), row, column) for column in range(row + 1)]


def _square(coverage: Coverage, asked: bool, row: int, column: int) -> Square:
    count, one, other = int(coverage.counts[row, column]), LABELS[row], LABELS[column]
    if one[0] == other[0]:  # a problem's own labels: how often each was tried; their pairs tell nothing
        return (
            Square("own", compact(count), f"{FULL_NAMES[row]}: {count:,} problems")
            if row == column
            else Square("", "", "")
        )
    pair = f"{FULL_NAMES[row]} with {FULL_NAMES[column]}"
    if count:
        return Square(f"p{min(len(str(count)) - 1, 5)}", compact(count), f"{pair}: {count:,} problems")
    if reason := impossible(row, column):
        return Square("not", "", f"{pair}: impossible, {reason}")
    if not asked:
        return Square("out", "", f"{pair}: left out by every contract, or by the choice of cells")
    return Square("never", "", f"{pair}: never tried")


def _rarest(coverage: Coverage) -> list[tuple[str, str, int]]:
    counts = coverage.counts[tuple(POSSIBLE.T)]
    order = [i for i in counts.argsort(kind="stable") if counts[i]][:_RAREST]
    return [(FULL_NAMES[POSSIBLE[i][0]], FULL_NAMES[POSSIBLE[i][1]], int(counts[i])) for i in order]


def compact(count: int) -> str:
    """Two digits are enough of what is more than 999."""
    if count < 1000:
        return str(count)
    power = (len(str(count)) - 1) // 3
    value = count / 1000**power
    return f"{value:.{int(value < 9.95)}f}{'kMGTPE'[power - 1]}"
