"""Try a law on a round of problems until it breaks, or until somebody wants it to stop."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from zlib import crc32

from hypothesis.errors import Flaky

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws.claims import check_bitwise
from properties.laws.law import Law, OutsideLaw
from properties.run.broken import ALONE as ALONE
from properties.run.broken import After as After
from properties.run.broken import Broken as Broken
from properties.shrink.explain import read_lines_run
from properties.shrink.features import features
from properties.shrink.minimise import simplify_numbers
from properties.shrink.reduce import reduce_problem
from verification.backends.protocol import Backend
from verification.isolation.isolated import hurried
from verification.oracle.judge import Violation
from verification.oracle.violation import Hang
from verification.problem import Problem
from verification.problem.labels import labels
from verification.records.coverage import Coverage
from verification.records.histogram import histogram
from verification.records.results import CellResult

# Looks at a problem on which the backend hangs, while it is made small: each costs its time.
MOST_HANGS = 40
# The last problems that were tried around one that broke: enough to tell what it needs.
_NEAR = 400


class Stopped(BaseException):
    """Somebody wants the round to end. No `Exception`: neither Hypothesis nor a backend may take it for a failure."""


class Round(NamedTuple):
    """Results of a round, and which features its problems had."""

    result: CellResult
    broken: Broken | None
    coverage: Coverage


@dataclass
class _Tally:
    """Counts of one round, while it goes on."""

    law: Law
    """The law that is asked."""
    backend: Backend
    """The backend that it is asked of."""
    stop: Callable[[], bool]
    """Returns True once somebody wants the round to end."""
    after: After = ALONE
    """What is known already."""
    problems: int = 0
    """How many problems were tried before the law broke."""
    digest: int = 0
    """A sum over those problems: equal where the same ones were tried, in any order."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why the law said nothing, and about how many problems."""
    ratios: list[float] = field(default_factory=list)
    """The largest err/bound of each problem that was verified."""
    labels: list[list[int]] = field(default_factory=list)
    """The labels of each problem."""
    broken: Broken | None = None
    """The last problem on which the law broke; shrinking ends with the smallest."""
    first: Violation | None = None
    """The first violation, of the law that is asked."""
    found: float = 0.0
    """When it broke first, on the clock of `time.monotonic`; 0 where it did not."""
    hangs_left: int = 0
    """How many more looks at a problem on which the backend hangs are allowed."""
    tried: deque[tuple[Problem, bool]] = field(default_factory=lambda: deque(maxlen=_NEAR))
    """The last problems, each with whether the law broke."""

    def breaks(self, problem: Problem) -> bool:
        """Return whether the law breaks on one more problem, which is kept if it does: one that the contract speaks of,
        since a kernel's refusal of others is not what was found.
        """
        if not self.backend.contract.speaks_of(problem) or not features(problem).isdisjoint(self.after.without):
            return False
        try:
            self.check(problem)
        except Violation:
            return True
        return False

    def check(self, problem: Problem) -> None:
        """Check one problem, and count it until the first violation: what Hypothesis tries after it is shrinking. Ends
        the round where the backend hangs, since Hypothesis would look at such a problem hundreds of times.
        """
        if self.stop():
            raise Stopped
        counting, law = self.broken is None, self.simplest
        if counting:
            self.problems += 1
            self.digest = (self.digest + _fingerprint(problem)) % 2**64
            self.labels.append([] if problem.misuse else labels(problem))  # a call that is refused tries nothing
        try:
            verdict = law.ask(self.backend, problem)
        except OutsideLaw as outside:
            if counting:
                self.reasons[outside.reason] += 1
            return
        except Violation as violation:
            broke = violation
        else:
            self.tried.append((problem, False))
            if counting:
                self.ratios.append(verdict.ratio)
            return
        if self.broken and broke.raised != self.broken.violation.raised:
            return  # another exception, or one where there was none: not what is being made small
        if broke.raised not in self.after.raised:
            # Hypothesis tells violations apart by where they were raised, and while what other one was handled.
            raise self._break(problem, broke)
        if counting:
            self.reasons["it raises there, as is told already"] += 1

    @property
    def failure(self) -> str:
        """Return how the law that is asked broke; on the smallest problem, unless a simpler law took its place."""
        if self.broken is None:
            return ""
        return str(self.first if self.broken.law else self.broken.violation)

    @property
    def simplest(self) -> Law:
        """Return the law that is asked; after it broke, the simplest that broke on the same problem."""
        return self.broken.law or self.law if self.broken else self.law

    def _break(self, problem: Problem, violation: Violation) -> Violation:
        """Keep the problem, and return the violation of the simplest law. Ends the round where nothing more is to be
        learnt of the problem, or at too high a price.
        """
        self.tried.append((problem, True))
        self.found = self.found or time.monotonic()
        known = False
        if self.broken:
            self.broken = replace(self.broken, problem=problem, violation=violation)
        else:
            self.first = violation
            self.broken = Broken(problem, violation)
            if not isinstance(violation, Hang):  # which takes its time under every law
                self.broken = self._find_simplest(self.broken)
                known = self.after.knows(self.simplest, problem, self.broken.violation)
        if isinstance(violation, Hang):
            self.hangs_left -= 1
        if known or self.hangs_left < 0:
            raise Stopped
        return self.broken.violation

    def _find_simplest(self, broken: Broken) -> Broken:
        """Return the problem with the first of the simpler laws that breaks on it too."""
        for law in () if broken.problem.misuse else self.after.simpler:
            if law.speaks_of(broken.problem, self.backend.device):
                try:
                    law.ask(self.backend, broken.problem)
                except OutsideLaw:
                    continue
                except Violation as violation:
                    return replace(broken, violation=violation, law=law)
        return broken


def fuzz(
    law: Law,
    backend: Backend,
    dtype: str,
    base_seed: int,
    examples: int,
    round_: int = 0,
    stop: Callable[[], bool] = lambda: False,
    *,
    shrink: bool = True,
    after: After = ALONE,
) -> Round:
    """Try ``examples`` problems, fewer where ``stop`` becomes true. The same seed and round try the same problems
    whatever the device. Where ``shrink`` is false, a problem on which the law breaks is told as it was drawn. Raises
    ClaimError, and Unsatisfiable where no problem is left.

    A problem of a round ``after`` a violation is not part of the digest: which ones are tried there depends on what
    other cells have found by then.
    """
    check_bitwise(backend.contract)
    tally, start = _Tally(law, backend, stop, after), time.monotonic()
    strategy = problems_within(backend.contract, dtype, law.phases, law.plain, law.bad_input)
    if after.without:
        strategy = strategy.filter(lambda problem: features(problem).isdisjoint(after.without))
    seed = crc32(f"{base_seed}/{law.name}/{dtype}{f'/{after.turn}' if after.turn else ''}".encode()) + round_
    lines: tuple[str, ...] = ()
    try:
        try_each(strategy, tally.check, seed, examples, shrink=shrink)
    except Flaky:  # a law that breaks now and then is broken all the same
        if tally.broken is None:
            raise
    except Violation as violation:
        lines = read_lines_run(violation)
        if shrink:
            _made_small(tally)
    except Stopped:
        if tally.broken and isinstance(tally.broken.violation, Hang):
            _made_small_in_a_hurry(tally)
    result = CellResult(
        law.name,
        dtype,
        backend.device,
        backend.name,
        problems=tally.problems,
        outside=tally.reasons.total(),
        ratio=max(tally.ratios, default=0.0),
        seconds=time.monotonic() - start,
        found_after=tally.found - start if tally.found else 0.0,
        digest=0 if after.turn or after.without else tally.digest,
        histogram=histogram(tally.ratios) if any(tally.ratios) else (),
        failure=tally.failure,
        reasons=dict(tally.reasons),
    )
    broken = replace(tally.broken, lines=lines, tried=tuple(tally.tried)) if tally.broken else None
    return Round(result, broken, Coverage.of(tally.labels))


def _made_small(tally: _Tally) -> None:
    """Make the broken problem small: Hypothesis ended with its smallest, which is the last one tallied; then come fewer
    tokens, then numbers that a person can read.
    """
    assert tally.broken is not None
    with suppress(Stopped):
        simplify_numbers(reduce_problem(tally.broken.problem, tally.breaks), tally.breaks)


def _made_small_in_a_hurry(tally: _Tally) -> None:
    """Make the broken problem small with less time for an answer and few looks. What comes of it counts if the law
    breaks there with all the time.
    """
    first = tally.broken
    assert first is not None
    tally.hangs_left = MOST_HANGS
    with hurried(tally.backend):
        _made_small(tally)
    assert tally.broken is not None
    smallest, tally.broken = tally.broken, first
    tally.hangs_left = 1
    if smallest.problem != first.problem:
        with suppress(Stopped):
            tally.breaks(smallest.problem)


def _fingerprint(problem: Problem) -> int:
    """Return a hash of the integers in a problem: Python hashes those alike in every process."""
    return hash(
        (
            problem.seed,
            problem.num_heads,
            problem.num_kv_heads,
            problem.head_dim,
            problem.query_lens,
            problem.key_lens,
            problem.block_size,
            problem.num_blocks,
            problem.slot_mapping,
            problem.block_tables,
        )
    )
