"""Choice of the one feature that a bug needs, from problems on which the law broke and others on which it held."""

from __future__ import annotations

from collections.abc import Sequence

from properties.shrink.features import features
from verification.problem import Problem

Tried = Sequence[tuple[Problem, bool]]
# By so much more often must problems on which the law breaks have the feature than those on which it holds. A feature
# that all problems have tells nothing, and a bug that needs none is not to be escaped.
_LEAST = 0.25


def find_need(problem: Problem, samples: Sequence[Tried]) -> str:
    """Return the feature of ``problem`` that tells best whether the law breaks; empty where none tells it.

    Each sample is problems with whether the law broke: those tried while the problem was made small show what the bug
    needs, those drawn afresh what of it is seldom, and all samples count the same. Of equal features it is the one that
    fewest problems on which the law held have, then the first by name.
    """
    telling = [each for sample in samples if (each := _Sample(sample)).tells]

    def rate(name: str) -> tuple[float, float, str]:
        told = sum(sample.told_by(name) for sample in telling) / max(1, len(telling))
        return -told, sum(sample.held_with(name) for sample in telling), name

    best = min(features(problem), key=rate, default="")
    return best if best and -rate(best)[0] >= _LEAST else ""


class _Sample:
    """Features of problems, of those that broke and of those that held."""

    def __init__(self, tried: Tried) -> None:
        self._broke = [features(problem) for problem, broke in tried if broke]
        self._held = [features(problem) for problem, broke in tried if not broke]

    @property
    def tells(self) -> bool:
        """Return True if some broke and some held."""
        return bool(self._broke and self._held)

    def told_by(self, name: str) -> float:
        """Return by how much the share of those that broke and have the feature exceeds that of those that held."""
        return sum(name in each for each in self._broke) / len(self._broke) - self.held_with(name)

    def held_with(self, name: str) -> float:
        """Return the share of those that held and have the feature."""
        return sum(name in each for each in self._held) / len(self._held)
