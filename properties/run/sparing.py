"""A backend that is spared what a known cause needs, also where a law makes such a problem of another."""

from __future__ import annotations

from dataclasses import dataclass

from properties.laws.law import OutsideLaw
from properties.shrink.features import features
from verification.backends.protocol import Call, Wrapped
from verification.problem import Problem


@dataclass(frozen=True)
class Sparing(Wrapped):
    """A backend that is not asked about problems with any of the features ``without``."""

    without: frozenset[str]

    def prepare(self, problem: Problem) -> Call:
        """Prepare a call. Raises OutsideLaw where the problem has one of the features."""
        if found := features(problem) & self.without:
            raise OutsideLaw(f"the law makes a problem with {min(found)}, which a known cause needs")
        return super().prepare(problem)
