"""Points of a contract: promises that are tried one by one, and how each turned out."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from hypothesis.errors import Flaky

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws.law import Law, OutsideLaw
from properties.shrink.reduce import reduce_problem
from verification.backends.protocol import Backend
from verification.oracle.violation import Hang, Violation
from verification.problem import Problem
from verification.problem.json_io import to_json


@dataclass(frozen=True)
class Point:
    """One promise that was tried."""

    field: str
    """Field of the contract; "defines" stands for a label that is not ``undefined``."""
    value: str
    """Part of the field that was tried, as a dtype or a law; empty for all of it."""
    declared: bool
    """True if the contract promises it."""
    problems: int
    """Number of problems of which it says something."""
    broken: str = ""
    """The violation, in one line; empty where it held."""
    phase: str = ""
    """The phase that was tried, where the contract differs from phase to phase; empty stands for all of them."""
    law: str = ""
    """The law that broke."""
    problem: Problem | None = None
    """The problem on which it broke: a small one where the contract promises the point."""

    @property
    def holds(self) -> bool:
        return bool(self.problems) and not self.broken

    @property
    def title(self) -> str:
        """Return field and value, and the phase where contracts differ."""
        name = f"{self.field} {self.value}".rstrip()
        return f"{name} in {self.phase}" if self.phase else name

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        held = {name: value for name, value in vars(self).items() if name != "problem"}
        return held | {"problem": json.loads(to_json(self.problem)) if self.problem else None}


class Tried(NamedTuple):
    """Result of trying a law: of how many problems it said something, and how it broke on which."""

    problems: int
    broken: str = ""
    law: str = ""
    problem: Problem | None = None

    def point(self, field: str, value: str, declared: bool) -> Point:
        """Return the point of a contract that was tried."""
        return Point(field, value, declared, self.problems, self.broken, law=self.law, problem=self.problem)


def try_law(law: Law, backend: Backend, dtype: str, seed: int, examples: int, shrink: bool) -> Tried:
    """Try a law on problems of a contract. Where ``shrink``, the one on which it breaks is made small."""
    said, broken, hangs = 0, list[tuple[Problem, str]](), False

    def check(problem: Problem) -> None:
        nonlocal said, hangs
        try:
            law.ask(backend, problem)
        except OutsideLaw:
            return
        except Violation as violation:
            broken.append((problem, str(violation).splitlines()[0]))
            hangs = isinstance(violation, Hang)
            raise
        said += 1

    # What breaks now and then, as memory that nobody has written does, is broken all the same.
    with suppress(Violation, Flaky):
        kind = law.phases, law.plain, law.bad_input, law.to_the_bit
        try_each(problems_within(backend.contract, dtype, *kind), check, seed, examples)
    if not broken:
        return Tried(said)
    problem, message = broken[0]
    if shrink and not hangs:  # every look at a hang takes its time
        problem = reduce_problem(
            problem, lambda other: backend.contract.speaks_of(other) and law.breaks(backend, other)
        )
    return Tried(said + 1, message, law.name, problem)
