"""Try a law on problems until it breaks or the budget is spent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from zlib import crc32

from hypothesis.errors import Flaky

from properties.law import Law, OutsideLaw
from properties.profile import try_each
from properties.reduce import reduced
from properties.strategies import problems_within
from verification.backend import Backend
from verification.judge import Violation
from verification.problem import Problem
from verification.results import CellResult

_ROUND = 50


@dataclass(frozen=True)
class Broken:
    """The smallest problem on which the law broke, and how."""

    problem: Problem
    violation: Violation


@dataclass
class _Tally:
    law: Law
    backend: Backend
    problems: int = 0
    outside: int = 0
    score: float = 0.0
    digest: int = 0
    broken: Broken | None = field(default=None)
    found: float | None = field(default=None)

    def breaks(self, problem: Problem) -> bool:
        """Whether the law breaks on one more problem, which is kept if it does."""
        try:
            self.check(problem)
        except Violation:
            return True
        return False

    def check(self, problem: Problem) -> None:
        """Counts until the first violation; what Hypothesis tries after it is shrinking."""
        if self.broken is None:
            self.problems += 1
            self.digest = (self.digest + _fingerprint(problem)) % 2**64
        try:
            verdict = self.law.check(self.backend, problem)
        except OutsideLaw:
            self.outside += self.broken is None
        except Violation as violation:
            self.broken = Broken(problem, violation)
            self.found = self.found or time.monotonic()
            raise
        else:
            self.score = max(self.score, verdict.score)


def fuzz(
    law: Law,
    backend: Backend,
    dtype: str,
    base_seed: int,
    examples: int | None = None,
    seconds: float | None = None,
) -> tuple[CellResult, Broken | None]:
    """``examples`` problems, or rounds with fresh seeds for ``seconds``. The same seed tries the same problems whatever
    the device.
    """
    tally = _Tally(law, backend)
    start = time.monotonic()
    cell_seed = crc32(f"{base_seed}/{law.name}/{dtype}".encode())
    if seconds is None:
        _round(tally, dtype, cell_seed, examples or _ROUND)
    else:
        round_ = 0
        while tally.broken is None and (round_ == 0 or time.monotonic() - start < seconds):
            _round(tally, dtype, cell_seed + round_, _ROUND)
            round_ += 1
    result = CellResult(
        law.name,
        dtype,
        backend.device,
        backend.name,
        problems=tally.problems,
        outside=tally.outside,
        score=tally.score,
        seconds=time.monotonic() - start,
        found_after=tally.found - start if tally.found else 0.0,
        digest=tally.digest,
    )
    return result, tally.broken


def _round(tally: _Tally, dtype: str, round_seed: int, examples: int) -> None:
    law = tally.law
    strategy = problems_within(tally.backend.contract, dtype, law.phases, law.plain, law.bad_input)
    try:
        try_each(strategy, tally.check, round_seed, examples, shrink=True)
    except Flaky:  # a law that breaks now and then is broken all the same
        if tally.broken is None:
            raise
    except Violation:  # Hypothesis ends with the smallest failing problem, which is the last one tallied
        assert tally.broken is not None
        reduced(tally.broken.problem, tally.breaks)


def _fingerprint(problem: Problem) -> int:
    """Of the integers in a problem: Python hashes those alike in every process."""
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
