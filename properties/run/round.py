"""Try a law on a round of problems until it breaks, or until somebody wants it to stop."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple
from zlib import crc32

from hypothesis.errors import Flaky

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws.claims import check_bitwise
from properties.laws.law import Law, OutsideLaw
from properties.shrink.explain import read_lines_run
from properties.shrink.minimise import simplify_numbers
from properties.shrink.reduce import reduce_problem
from verification.backends.late import Watch, watching
from verification.backends.protocol import Backend
from verification.isolation.isolated import fetch_memory, hurried
from verification.oracle.judge import Violation
from verification.oracle.violation import Hang, LateWrite
from verification.problem import Problem
from verification.problem.labels import labels
from verification.records.coverage import Coverage
from verification.records.histogram import histogram
from verification.records.results import CellResult

# Looks at a problem on which the backend hangs, or writes late, while it is made small: each costs its time.
MOST_HANGS = 40


class Stopped(BaseException):
    """Somebody wants the round to end. No `Exception`: neither Hypothesis nor a backend may take it for a failure."""


@dataclass(frozen=True)
class Broken:
    """Smallest problem on which a law broke, how it broke, and the lines that `read_lines_run` tells of."""

    problem: Problem
    violation: Violation
    lines: tuple[str, ...] = ()


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
    found: float = 0.0
    """When it broke first, on the clock of `time.monotonic`; 0 where it did not."""
    hangs_left: int = 0
    """How many more looks are allowed at a problem on which the backend hangs, or may write late."""
    watch: Watch | None = None
    """Looks again at the memory of calls that have returned."""
    patient: bool = False
    """True if it waits after each problem, to look again at the memory of its calls."""

    def breaks(self, problem: Problem) -> bool:
        """Return whether the law breaks on one more problem, which is kept if it does: one that the contract speaks of,
        since a kernel's refusal of others is not what was found.
        """
        if not self.backend.contract.speaks_of(problem):
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
        counting = self.broken is None
        if self.watch:
            self.watch.problem = problem
        if counting:
            self.problems += 1
            self.digest = (self.digest + _fingerprint(problem)) % 2**64
            self.labels.append(labels(problem))
        try:
            verdict = self.law.ask(self.backend, problem)
            if counting or self.patient:
                self.look_again()
        except OutsideLaw as outside:
            if counting:
                self.reasons[outside.reason] += 1
        except Violation as violation:
            self.broken = Broken(problem, violation)
            self.found = self.found or time.monotonic()
            if isinstance(violation, Hang):
                self.hangs_left -= 1
                if self.hangs_left < 0:
                    raise Stopped from None
            raise
        else:
            if counting:
                self.ratios.append(verdict.ratio)

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
            at_fault = violation.problem if isinstance(violation, LateWrite) else self.watch.problem
            assert at_fault is not None
            self.broken, self.found = Broken(at_fault, violation), time.monotonic()
            raise Stopped from None


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
) -> Round:
    """Try ``examples`` problems, fewer where ``stop`` becomes true. The same seed and round try the same problems
    whatever the device. Where ``shrink`` is false, a problem on which the law breaks is told as it was drawn. Raises
    ClaimError.
    """
    check_bitwise(backend.contract)
    tally, start = _Tally(law, backend, stop), time.monotonic()
    strategy = problems_within(backend.contract, dtype, law.phases, law.plain, law.bad_input, law.to_the_bit)
    seed = crc32(f"{base_seed}/{law.name}/{dtype}".encode()) + round_
    lines: tuple[str, ...] = ()
    try:
        with watching(partial(fetch_memory, backend)) as tally.watch:
            try_each(strategy, tally.check, seed, examples, shrink=shrink)
            tally.look_again(last=True)
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
        elif tally.broken and isinstance(tally.broken.violation, LateWrite) and shrink:
            _made_small_patiently(tally)
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
        digest=tally.digest,
        histogram=histogram(tally.ratios) if any(tally.ratios) else (),
        failure=str(tally.broken.violation) if tally.broken else "",
        reasons=dict(tally.reasons),
    )
    broken = Broken(tally.broken.problem, tally.broken.violation, lines) if tally.broken else None
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


def _made_small_patiently(tally: _Tally) -> None:
    """Make a problem small on which memory is written late, with few looks: each waits for the write."""
    tally.patient, tally.hangs_left = True, MOST_HANGS
    with watching(partial(fetch_memory, tally.backend)) as tally.watch:
        _made_small(tally)


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
