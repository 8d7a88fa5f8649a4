"""Causes: which failures are of one bug, and what each cell has been told of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from properties.laws.law import Law, OutsideLaw
from properties.run.afresh import NOT_REPEATABLE
from properties.run.sparing import Sparing
from properties.shrink.features import features
from verification.backends.protocol import Backend
from verification.oracle.judge import Violation
from verification.oracle.violation import Hang
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.records.failure import Failure

# Causes by which a cell may break. Whoever mends the first ones sees the others in the next run.
MOST = 5


@dataclass(frozen=True)
class Heard:
    """Causes by which a cell has broken: what it goes on without."""

    without: frozenset[str] = frozenset()
    """Features that its problems no longer have."""
    raised: frozenset[str] = frozenset()
    """Exceptions that say nothing new."""
    causes: int = 0
    """How many causes there were."""
    ended: str = ""
    """Why the cell is not asked further; empty where it is."""

    def hear(self, cause: Failure) -> Heard:
        """Return what the cell goes on without after one cause more."""
        known = (cause.raised and cause.raised in self.raised) or (cause.need and cause.need in self.without)
        causes = self.causes + (not known)
        ended = self.ended
        if cause.everywhere:
            ended = "it breaks on nearly every problem"
        elif not cause.raised and not cause.need:
            ended = "nothing tells what it needs to break"
        elif causes >= MOST:
            ended = f"it breaks in {MOST} ways"
        return Heard(
            self.without | ({cause.need} if cause.need and not cause.raised else set()),
            self.raised | ({cause.raised} if cause.raised else set()),
            causes,
            ended,
        )

    def __or__(self, other: Heard) -> Heard:
        """Return what two rounds of one cell have heard together."""
        causes = max(self.causes, other.causes)
        return Heard(self.without | other.without, self.raised | other.raised, causes, self.ended or other.ended)


NOTHING_HEARD = Heard()


def same_cause(one: Failure, other: Failure) -> bool:
    """Return True if two failures of one backend are of one bug, as far as they tell.

    They are where the same line raised the same exception; where one breaks on nearly every problem, so that nothing
    else can be told before it is mended; where neither stands alone in a fresh process; where both need the same
    feature, or the smallest problem of each has what the other needs; where one needs a rule of scoring that the
    smallest problem of the other has, and so needs too, since shrinking leaves out what it can; or where one mistake
    would explain both numbers, and they break one law, or one of them has what the other needs.
    """
    if one.raised == other.raised != "" or (one.raised and one.everywhere):
        return True
    if not _stands_alone(one) and not _stands_alone(other):
        return True
    if one.raised or other.raised:
        return False
    problems = one.finding.problem, other.finding.problem
    if _without_dtype(problems[0]) == _without_dtype(problems[1]):
        return True
    if one.everywhere or not one.need:
        return _pair(other) in one.cells
    if one.need == other.need:
        return True
    if one.as_if and set(one.as_if) == set(other.as_if) and one.finding.law == other.finding.law:
        return True
    shared = one.need in features(problems[1]), bool(other.need) and other.need in features(problems[0])
    is_of_scoring = any(
        has and each.need.startswith("scoring: ") for has, each in zip(shared, (one, other), strict=True)
    )
    return all(shared) or is_of_scoring or (any(shared) and not set(one.as_if).isdisjoint(other.as_if))


def known_cause(
    causes: list[Failure], law: Law, backend: Backend, problem: Problem, violation: Violation
) -> Failure | None:
    """Return the known cause of a violation on a problem as it was drawn; None where it may be a new one.

    It is known where the same line raised, where the problem has the feature that a cause needs and the law breaks on
    the smallest problem of that cause too, and where the law itself makes a problem with that feature.
    """
    if isinstance(violation, Hang):
        return None
    for cause in causes:
        if violation.raised or cause.raised:
            if violation.raised == cause.raised:
                return cause
            continue
        if cause.need and cause.need not in features(problem) and _makes(law, backend, problem, cause.need):
            return cause
        same = cast(cause.finding.problem, problem.dtype)
        if same and (not cause.need or cause.need in features(problem)) and _breaks(law, backend, same):
            return cause
    return None


def cast(problem: Problem, dtype: str) -> Problem | None:
    """Return the same problem in ``dtype``; None where its cache or one of its numbers is not of that format."""
    if problem.dtype == dtype:
        return problem
    fmt = FORMATS[dtype].numpy
    with np.errstate(over="ignore"):
        held = all((np.array(given.values).astype(fmt) == np.array(given.values)).all() for given in problem.numbers)
    return replace(problem, dtype=dtype) if held and not problem.cache_dtype else None


def _makes(law: Law, backend: Backend, problem: Problem, need: str) -> bool:
    """Return True if the law, asked about a problem without a feature, asks the backend about one that has it."""
    try:
        law.ask(Sparing(backend, frozenset({need})), problem)
    except OutsideLaw:
        return True
    except Violation:
        pass
    return False


def _breaks(law: Law, backend: Backend, problem: Problem) -> bool:
    speaks = backend.contract.speaks_of(problem) and law.speaks_of(problem, backend.device)
    return speaks and law.bad_input == bool(problem.misuse) and law.breaks(backend, problem)


def _stands_alone(failure: Failure) -> bool:
    """Return False where it needs calls before it, and where it comes and goes."""
    return not failure.finding.before and not failure.finding.message.startswith(NOT_REPEATABLE)


def _pair(failure: Failure) -> tuple[str, str]:
    return failure.finding.law, failure.finding.problem.dtype


def _without_dtype(problem: Problem) -> Problem:
    return replace(problem, dtype="float32")
