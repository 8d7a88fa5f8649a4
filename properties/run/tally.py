"""Counts of one round of a law, while it goes on, and what it does where the law breaks."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from properties.laws.law import Law, OutsideLaw
from properties.run.broken import ALONE, After, Broken
from properties.run.sparing import Sparing
from properties.shrink.features import features
from properties.shrink.halve import is_large
from verification.backends.late import Watch
from verification.backends.protocol import Backend
from verification.oracle.judge import Violation
from verification.oracle.violation import Hang, LateWrite
from verification.problem import Problem
from verification.problem.labels import labels
from verification.tensors.shared import Shared, sharing

# The last problems that were tried around one that broke: enough to tell what it needs.
_NEAR = 400


class Stopped(BaseException):
    """Somebody wants the round to end. No `Exception`: neither Hypothesis nor a backend may take it for a failure."""


@dataclass
class Tally:
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
    """How many more looks are allowed at a problem on which the backend hangs, or may write late."""
    tried: deque[tuple[Problem, bool]] = field(default_factory=lambda: deque(maxlen=_NEAR))
    """The last problems, each with whether the law broke."""
    watch: Watch | None = None
    """Looks again at the memory of calls that have returned."""
    shared: Shared | None = None
    """What is made of the problem that is checked; None where it is made for this law alone."""
    patient: bool = False
    """True if it waits after each problem, to look again at the memory of its calls."""

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

    def check_shared(self, shared: Shared) -> None:
        """Check one problem as `check` does, by what other laws have made of it, and leave the next law what this one
        makes. Once the law has broken, all is made anew.
        """
        self.shared = None if self.law.afresh else shared
        try:
            self.check(shared.problem)
        finally:
            self.shared = None

    def check(self, problem: Problem) -> None:
        """Check one problem, and count it until the first violation: what Hypothesis tries after it is shrinking. Ends
        the round where the backend hangs, since Hypothesis would look at such a problem hundreds of times.
        """
        if self.stop():
            raise Stopped
        counting, law = self.broken is None, self.simplest
        if self.watch:
            self.watch.problem = problem
        if counting:
            self.problems += 1
            self.digest = (self.digest + _fingerprint(problem)) % 2**64
            self.labels.append([] if problem.misuse else labels(problem))  # a call that is refused tries nothing
        try:
            with sharing(self.shared):
                verdict = law.ask(self._asked, problem)
            if counting or self.patient:
                self.look_again()
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
    def _asked(self) -> Backend:
        """Return the backend, which is spared what earlier causes need."""
        return Sparing(self.backend, self.after.without) if self.after.without else self.backend

    @property
    def failure(self) -> str:
        """Return how the law that is asked broke; on the smallest problem, unless a simpler law took its place."""
        if self.broken is None:
            return ""
        return str(self.first if self.broken.law else self.broken.violation)

    @property
    def is_known(self) -> bool:
        """Return True where the law broke by a known cause, so that its problem need not be made small."""
        return bool(self.broken and self.after.knows(self.simplest, self.broken.problem, self.broken.violation))

    @property
    def simplest(self) -> Law:
        """Return the law that is asked; after it broke, the simplest that broke on the same problem."""
        return self.broken.law or self.law if self.broken else self.law

    def _break(self, problem: Problem, violation: Violation) -> Violation:
        """Keep the problem, and return the violation of the simplest law. Ends the round where nothing more is to be
        learnt of the problem, or at too high a price: Hypothesis would look at a large one hundreds of times.
        """
        self.tried.append((problem, True))
        self.found = self.found or time.monotonic()
        known, too_large = False, self.broken is None and is_large(problem)
        if self.broken:
            self.broken = replace(self.broken, problem=problem, violation=violation)
        else:
            self.first = violation
            self.broken = Broken(problem, violation)
            if not isinstance(violation, Hang):  # which takes its time under every law
                self.broken = self._find_simplest(self.broken)
                known = self.is_known
        if isinstance(violation, Hang):
            self.hangs_left -= 1
        if known or too_large or self.hangs_left < 0:
            raise Stopped
        return self.broken.violation

    def _find_simplest(self, broken: Broken) -> Broken:
        """Return the problem with the first of the simpler laws that breaks on it too."""
        for law in () if broken.problem.misuse else self.after.simpler:
            if law.speaks_of(broken.problem, self.backend.device):
                try:
                    law.ask(self._asked, broken.problem)
                except OutsideLaw:
                    continue
                except Violation as violation:
                    return replace(broken, violation=violation, law=law)
        return broken

    def look_again(self, *, last: bool = False) -> None:
        """Look again at the memory of calls that are old enough. With patience, and at the ``last`` look, wait until
        they are. Ends the round where memory has changed, since the problem at fault is an earlier one.
        """
        assert self.watch is not None
        if self.patient:
            self.hangs_left -= 1
            if self.hangs_left < 0:
                raise Stopped
        try:
            if last or self.patient:
                self.watch.wait()
            else:
                self.watch.look()
        except Violation as violation:
            if self.patient:
                raise
            if violation.raised in self.after.raised:
                return  # told already
            at_fault = violation.problem if isinstance(violation, LateWrite) else self.watch.problem
            assert at_fault is not None
            self.first, self.broken, self.found = violation, Broken(at_fault, violation), time.monotonic()
            raise Stopped from None


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
