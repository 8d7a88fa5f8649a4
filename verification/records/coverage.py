"""Counts of pairs of labels that a run has tried together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verification.problem.labels import INDEX, LABELS, NAMES, PAIRED, POSSIBLE, current_name, impossible
from verification.problem.reading import ProblemError, shortened

# Sums of so many stay within 64 bits.
_MOST = 2**53


LeftOut = Sequence[Sequence[str]]
"""For each kind of call that was asked, the labels that it cannot have; empty where all can be had together."""


class Matrix(NamedTuple):
    """Counts of how often the labels of two features were tried together; None where they cannot be, and were not."""

    rows: str
    columns: str
    counts: list[list[int | None]]


@dataclass(frozen=True, eq=False)
class Coverage:
    """Counts of labels: ``counts[a, b]`` of the ``problems`` have both; the diagonal says how many have one."""

    problems: int
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Coverage:
        """Count the `labels` of each problem."""
        has = np.zeros((len(rows), len(LABELS)), np.float32)  # exact up to 2^24 problems, and BLAS knows it
        has[np.repeat(np.arange(len(rows)), [len(row) for row in rows]), [label for row in rows for label in row]] = 1
        return cls(len(rows), (has.T @ has).astype(np.int64))

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(self.problems + other.problems, self.counts + other.counts)

    def untried(self, left_out: LeftOut = ()) -> list[tuple[str, str]]:
        """Return the possible pairs that no problem had, without those that all kinds of calls leave out."""
        names = list(NAMES)
        nobody_had = (self.counts == 0) & can_be_asked(left_out)
        pairs = POSSIBLE[nobody_had[tuple(POSSIBLE.T)]].tolist()
        return [(names[a], names[b]) for a, b in pairs]

    def matrices(self) -> Iterator[Matrix]:
        """Return a matrix for each pair of features."""
        for one, other in combinations(PAIRED, 2):
            rows = [[self._shown(a, b) for b in INDEX[other].values()] for a in INDEX[one].values()]
            yield Matrix(one, other, rows)

    def _shown(self, a: int, b: int) -> int | None:
        count = int(self.counts[a, b])
        return None if not count and impossible(a, b) else count

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the labels by name, and for each the counts of its pairs from itself on."""
        counts = [row[i:].tolist() for i, row in enumerate(self.counts)]
        return {"problems": self.problems, "labels": list(NAMES), "counts": counts}

    @classmethod
    def from_dict(cls, data: Any) -> Coverage:
        """Return what `to_dict` made, here or in a release with other labels, as long as all its labels are known.
        Raises ProblemError.
        """
        if not isinstance(data, dict) or set(data) != {"problems", "labels", "counts"}:
            raise ProblemError(f"coverage: {shortened(data)} (must be an object with problems, labels and counts)")
        problems, names, rows = data["problems"], data["labels"], data["counts"]
        if not _is_count(problems, _MOST):
            raise ProblemError(f"problems: {shortened(problems)} (must be a number of problems)")
        if not isinstance(names, list):
            raise ProblemError(f"labels: {shortened(names)} (must be a list)")
        names = [current_name(name) if isinstance(name, str) else name for name in names]
        for i, name in enumerate(names):
            if not isinstance(name, str) or name not in NAMES or name in names[:i]:
                raise ProblemError(f"labels[{i}]: {shortened(name)} (must be a label of this release, once)")
        if not isinstance(rows, list) or len(rows) != len(names):
            raise ProblemError(f"counts: {shortened(rows)} (must have a row a label)")
        counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
        indices = [NAMES[name] for name in names]
        for i, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != len(names) - i:
                raise ProblemError(f"counts[{i}]: {shortened(row)} (must have {len(names) - i} entries)")
            for count, other in zip(row, indices[i:], strict=True):
                if not _is_count(count, problems):
                    raise ProblemError(f"counts[{i}]: {shortened(count)} (must be some of {problems} problems)")
                counts[indices[i], other] = counts[other, indices[i]] = count
        has = counts.diagonal()
        for a, b in np.argwhere(counts > np.minimum.outer(has, has)).tolist():
            raise ProblemError(f"counts: {counts[a, b]} have both {LABELS[a]} and {LABELS[b]} (more than have one)")
        return cls(problems, counts)


def can_be_asked(left_out: LeftOut) -> NDArray[np.bool_]:
    """Return for each pair of labels whether some kind of call can have both."""
    if not left_out:
        return np.ones((len(LABELS), len(LABELS)), bool)
    had = np.array([[name not in labels for name in NAMES] for labels in map(set, left_out)])
    return (had[:, :, None] & had[:, None, :]).any(axis=0)  # type: ignore[no-any-return]


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
