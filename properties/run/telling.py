"""Failures as a person needs them: the simplest law that breaks, all laws that break with it, and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from zlib import crc32

from hypothesis.errors import Unsatisfiable

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.laws.law import Law, OutsideLaw
from properties.run.afresh import History, repeat
from properties.run.causes import cast
from properties.run.round import Broken
from properties.shrink.explain import find_indifferent
from properties.shrink.features import features
from properties.shrink.needs import Tried, find_need
from properties.shrink.reduce import reduce_problem
from verification.backends.protocol import Backend
from verification.oracle.diagnosis import explanations
from verification.oracle.judge import Violation
from verification.oracle.violation import Crash, Hang, LateWrite
from verification.problem import Problem
from verification.records.failure import Failure
from verification.records.findings import Finding
from verification.tensors.inputs import make_inputs

# Problems that are drawn afresh to tell what a bug needs.
_DRAWN = 40
# The share of them with which a bug hides all others.
_NEARLY_ALL = 0.75
# Numbers under which few bugs hide: with equal values, or equal scores, many a wrong sum is right.
_TELLING = {"score_fill": "normal", "value_fill": "normal", "specials": ()}
Stop = Callable[[], bool]


def failure_of(
    law: Law, backend: Backend, broken: Broken, source: str, stop: Stop = lambda: False, before: Sequence[Problem] = ()
) -> Failure:
    """Return a broken law as a person needs it: what else it breaks on is looked for as long as nobody wants to stop.

    ``source`` is the name under which the catalogue has the backend, and a replay finds it.
    """

    def breaks(problem: Problem) -> bool:
        return not stop() and law.breaks(backend, problem)

    violation = broken.violation
    finding = Finding(broken.problem, law.name, source, backend.device, str(violation), tuple(before))
    found = violation.difference
    as_if = explanations(make_inputs(broken.problem), found.worst) if found else ()
    stopped = stop() or isinstance(violation, Hang | LateWrite)  # of which every look takes its time
    any_ = () if stopped else find_indifferent(broken.problem, backend.contract.dtypes, breaks)
    return Failure(
        finding,
        law.statement,
        found,
        as_if,
        any_,
        broken.lines,
        raised=violation.raised,
        frames=violation.frames,
        cells=((law.name, broken.problem.dtype),),
        implementation=backend.name,
    )


def tell_failure(
    law: Law,
    backend: Backend,
    broken: Broken,
    source: str,
    history: History,
    seed: int,
    stop: Stop,
    without: frozenset[str] = frozenset(),
) -> Failure:
    """Return the failure of a cell with all that is told of its cause.

    Its law is the simplest one that breaks on the problem; ``cells`` are all laws and dtypes that do. What the cell
    went on ``without`` by then says nothing about what this one needs.
    """
    if isinstance(broken.violation, Hang | LateWrite):  # which breaks every law
        return failure_of(law, backend, broken, source, stop)
    simplest, at = _find_simplest(law, backend, broken, stop)
    failure = asked_again(simplest, backend, at, source, history, stop)
    failure = with_need(failure, law, backend, broken, seed, stop, without)
    others = _find_cells(at.problem, backend, stop, every_dtype=not isinstance(broken.violation, Crash))
    own = (law.name, broken.problem.dtype)
    return replace(failure, cells=tuple(dict.fromkeys((*failure.cells, *others, own))))


def asked_again(law: Law, backend: Backend, broken: Broken, source: str, history: History, stop: Stop) -> Failure:
    """Return the failure with the calls that must come before it, or with words for one that comes and goes."""
    again = repeat(law, broken.problem, backend, source, history, stop)
    failure = failure_of(law, backend, broken, source, stop, again.before)
    if not again.note:
        return failure
    said = f"{again.note}: {failure.finding.message}"
    return replace(failure, finding=replace(failure.finding, message=said))


def with_need(
    failure: Failure,
    law: Law,
    backend: Backend,
    broken: Broken,
    seed: int,
    stop: Stop,
    without: frozenset[str] = frozenset(),
) -> Failure:
    """Return the failure with the feature that the bug needs, by what was tried around the problem and drawn afresh.

    It breaks everywhere where nearly all problems do that are drawn with telling numbers, by the same exception or by
    none, whatever they have.
    """
    if isinstance(broken.violation, Hang):
        return replace(failure, everywhere=True)
    near = list(broken.tried)

    def breaks(problem: Problem) -> bool:
        broke = not stop() and backend.contract.speaks_of(problem) and law.breaks(backend, problem)
        near.append((problem, broke))
        return broke

    if not near:  # as of a problem of the corpus, which nobody has made small
        reduce_problem(broken.problem, breaks)
    drawn, telling = (_draw(law, backend, broken, seed, stop, without, fills) for fills in ({}, _TELLING))
    if stop():
        return failure
    breaking = sum(broke for _, broke in telling) / max(1, len(telling))
    need = find_need(broken.problem, (near, drawn, telling))
    # Several bugs together break nearly all problems too: numbers that need something are of one of them.
    everywhere = breaking >= _NEARLY_ALL and (bool(failure.raised) or not need)
    return replace(failure, need=need, everywhere=everywhere)


def _find_simplest(law: Law, backend: Backend, broken: Broken, stop: Stop) -> tuple[Law, Broken]:
    """Return the first law, in the order of `LAWS`, that breaks on the problem, with how it does."""
    for other in LAWS:
        if other.name == law.name or stop():
            break
        if not other.speaks_of(broken.problem, backend.device) or broken.problem.misuse:
            continue
        try:
            other.ask(backend, broken.problem)
        except OutsideLaw:
            continue
        except Violation as violation:
            return other, replace(broken, violation=violation)
    return law, broken


def _find_cells(problem: Problem, backend: Backend, stop: Stop, *, every_dtype: bool) -> Iterator[tuple[str, str]]:
    """Yield the laws and dtypes that break on the problem, whose numbers are cast where they are given."""
    for dtype in backend.contract.dtypes if every_dtype else (problem.dtype,):
        other = cast(problem, dtype)
        if other is None or not backend.contract.speaks_of(other):
            continue
        for law in LAWS:
            if stop():
                return
            speaks = law.asks(backend, dtype) and law.speaks_of(other, backend.device)
            if speaks and law.bad_input == bool(other.misuse) and law.breaks(backend, other):
                yield law.name, dtype


def in_dtype(problem: Problem, dtype: str) -> Problem | None:
    """Return the same problem in ``dtype``; None where its numbers or its cache are of its own dtype."""
    if problem.dtype == dtype:
        return problem
    return None if problem.numbers or problem.cache_dtype else replace(problem, dtype=dtype)


def _draw(
    law: Law, backend: Backend, broken: Broken, seed: int, stop: Stop, without: frozenset[str], fills: dict[str, Any]
) -> Tried:
    """Return problems drawn afresh with these ``fills``, each with whether the law breaks on it.

    Those on which it breaks by another exception, or by one where ``broken`` is by none, are left out.
    """
    dtype, raised = broken.problem.dtype, broken.violation.raised
    tried: list[tuple[Problem, bool]] = []

    def ask(problem: Problem) -> None:
        if stop():
            return
        problem = replace(problem, **fills)
        try:
            law.ask(backend, problem)
        except OutsideLaw:
            return
        except Violation as violation:
            if violation.raised == raised:
                tried.append((problem, True))
        else:
            tried.append((problem, False))

    strategy = problems_within(backend.contract, dtype, law.phases, law.plain, law.bad_input, law.to_the_bit)
    if without:
        strategy = strategy.filter(lambda problem: features(problem).isdisjoint(without))
    with suppress(Unsatisfiable):
        try_each(strategy, ask, crc32(f"{seed}/{law.name}/{dtype}/needs".encode()), _DRAWN)
    return tried
