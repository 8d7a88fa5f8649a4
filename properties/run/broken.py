"""A broken law as a round leaves it, and what a round knows that goes on after one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from properties.laws.law import Law
from verification.oracle.judge import Violation
from verification.problem import Problem


@dataclass(frozen=True)
class Broken:
    """Smallest problem on which a law broke, how it broke, and the lines that `read_lines_run` tells of."""

    problem: Problem
    violation: Violation
    lines: tuple[str, ...] = ()
    tried: tuple[tuple[Problem, bool], ...] = ()
    """The last problems that were tried, each with whether the law broke."""
    law: Law | None = None
    """The law that broke, where it is a simpler one than was asked (`After.simpler`)."""


@dataclass(frozen=True)
class After:
    """Knowledge of earlier violations, after which a round of the cell goes on."""

    without: frozenset[str] = frozenset()
    """Features (`properties.shrink.features`) that no problem has."""
    raised: frozenset[str] = frozenset()
    """Exceptions, by `Violation.raised`, that are told already: a problem on which one is raised says nothing new."""
    turn: int = 0
    """How often the round was broken off: each turn tries other problems."""
    simpler: tuple[Law, ...] = ()
    """Laws that are simpler to understand: the first that breaks on the problem too takes the law's place."""
    knows: Callable[[Law, Problem, Violation], bool] = lambda *_: False
    """Returns True where the violation is of a known cause, so that its problem need not be made small."""


ALONE = After()
