"""Try a law on a round of problems until it breaks, or until somebody wants it to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import NamedTuple
from zlib import crc32

from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws.claims import check_bitwise
from properties.laws.law import Law
from properties.run.broken import ALONE as ALONE
from properties.run.broken import After as After
from properties.run.broken import Broken as Broken
from properties.run.stream import Key, Stream, open_stream
from properties.run.tally import Stopped, Tally
from properties.shrink.explain import read_lines_run
from properties.shrink.features import features
from properties.shrink.halve import halve_problem, is_large
from properties.shrink.minimise import simplify_numbers
from properties.shrink.reduce import reduce_problem
from verification.backends.late import watching
from verification.backends.protocol import Backend
from verification.isolation.isolated import fetch_memory, hurried
from verification.oracle.judge import Violation
from verification.oracle.violation import Hang, LateWrite
from verification.problem import Problem
from verification.records.coverage import Coverage
from verification.records.histogram import histogram
from verification.records.results import CellResult

# Looks at a problem on which the backend hangs, or writes late, while it is made small: each costs its time.
MOST_HANGS = 40


class _TimeIsUp(BaseException):
    """The time of the round is over. No `Exception`, for the reason that `Stopped` is none."""


class Round(NamedTuple):
    """Results of a round, and which features its problems had."""

    result: CellResult
    broken: Broken | None
    coverage: Coverage


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
    until: float = float("inf"),
) -> Round:
    """Try ``examples`` problems, fewer where ``stop`` becomes true. The same seed and round try the same problems
    whatever the device. Where ``shrink`` is false, a problem on which the law breaks is told as it was drawn. ``until``
    is when the round ends, by `time.monotonic`: before its next problem, not before its first, and not while a problem
    is made small. Raises ClaimError, and Unsatisfiable where no problem is left.

    Where ``until`` is given, laws of one kind are asked about the same problems, the first of one stream
    (`properties.run.stream`), and share what they make of them. Where problems are counted each law has its own.

    A problem of a round ``after`` a violation is not part of the digest: which ones are tried there depends on what
    other cells have found by then.
    """
    check_bitwise(backend.contract)
    tally, start = Tally(law, backend, stop, after), time.monotonic()
    strategy = _problems_of(law, backend, dtype, after.without)
    seed = crc32(f"{base_seed}/{law.name}/{dtype}{f'/{after.turn}' if after.turn else ''}".encode()) + round_
    lines: tuple[str, ...] = ()
    try:
        with watching(partial(fetch_memory, backend)) as tally.watch:
            with suppress(_TimeIsUp):
                if until < float("inf") and not after.turn and not after.without:
                    stream = open_stream(backend, Key(law.kind, dtype, base_seed, round_), strategy)
                    _ask_shared(stream, tally, examples, until, shrink=shrink)
                else:
                    try_each(strategy, _within(until, tally), seed, examples, shrink=shrink)
            tally.look_again(last=True)
    except Flaky:  # a law that breaks now and then is broken all the same
        if tally.broken is None:
            raise
    except Violation as violation:
        lines = read_lines_run(violation)
        if shrink:
            _made_small(tally)
    except Stopped:
        _made_small_without_hypothesis(tally, shrink)
    broken = replace(tally.broken, lines=lines, tried=tuple(tally.tried)) if tally.broken else None
    return Round(_result_of(tally, dtype, start), broken, Coverage.of(tally.labels))


def _result_of(tally: Tally, dtype: str, start: float) -> CellResult:
    """Return what a round came to that began at ``start``."""
    backend, after = tally.backend, tally.after
    return CellResult(
        tally.law.name,
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


def _made_small_without_hypothesis(tally: Tally, shrink: bool) -> None:
    """Make the broken problem small where Hypothesis was stopped at it: each of its looks would take too long."""
    if tally.broken and isinstance(tally.broken.violation, Hang):
        _made_small_in_a_hurry(tally)
    elif shrink and tally.broken and not tally.is_known:
        is_late = isinstance(tally.broken.violation, LateWrite)
        (_made_small_patiently if is_late else _made_small)(tally)


def _problems_of(law: Law, backend: Backend, dtype: str, without: frozenset[str]) -> SearchStrategy[Problem]:
    """Return the strategy for problems of which a law speaks, and which have none of the features."""
    strategy = problems_within(backend.contract, dtype, law.phases, law.plain, law.bad_input, law.to_the_bit)
    return strategy.filter(lambda problem: features(problem).isdisjoint(without)) if without else strategy


def _within(until: float, tally: Tally) -> Callable[[Problem], None]:
    """Return a check of one problem that ends the round where its time is over."""
    if until == float("inf"):
        return tally.check

    def check(problem: Problem) -> None:
        if tally.problems and not tally.broken and time.monotonic() > until:
            raise _TimeIsUp
        tally.check(problem)

    return check


def _ask_shared(stream: Stream, tally: Tally, examples: int, until: float, *, shrink: bool) -> None:
    """Ask the law about a stream of problems until its time is over. Raises Violation and Stopped, as `try_each` does
    that makes the problem small on which the law breaks.
    """
    for shared in stream:
        if tally.problems and (tally.problems >= examples or time.monotonic() > until):
            return
        try:
            tally.check_shared(shared)
        except Violation:
            if not shrink:
                raise
            stream.draw_again(shared, tally.check)
            return
        finally:
            stream.keep(shared)


def _made_small(tally: Tally) -> None:
    """Make the broken problem small: Hypothesis ended with its smallest, which is the last one tallied, and a large
    problem is halved; then come fewer tokens, then numbers that a person can read.
    """
    assert tally.broken is not None
    with suppress(Stopped):
        problem = halve_problem(tally.broken.problem, tally.breaks)
        if not is_large(problem):
            simplify_numbers(reduce_problem(problem, tally.breaks), tally.breaks)


def _made_small_in_a_hurry(tally: Tally) -> None:
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


def _made_small_patiently(tally: Tally) -> None:
    """Make a problem small on which memory is written late, with few looks: each waits for the write."""
    tally.patient, tally.hangs_left = True, MOST_HANGS
    with watching(partial(fetch_memory, tally.backend)) as tally.watch:
        _made_small(tally)
