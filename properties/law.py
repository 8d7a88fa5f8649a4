"""What a law is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc
from typing import get_args

from verification.backends.protocol import Backend, Call, Wrapped
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem
from verification.problem.problem import Phase

PHASES: tuple[str, ...] = get_args(Phase)
Check = Callable[[Backend, Problem], Verdict]


class OutsideLaw(Exception):
    """The law says nothing about this problem. Counted apart: such a problem was not verified."""


class _InContract(Wrapped):
    """Not asked about what its contract leaves undefined: a law may come to such a problem from another."""

    def prepare(self, problem: Problem) -> Call:
        if not self.contract.defines(problem):
            raise OutsideLaw
        return super().prepare(problem)


@dataclass(frozen=True)
class Law:
    """``check(backend, problem)`` raises `Violation`, or returns what it measured.

    ``phases`` and ``devices`` are those it speaks of. ``bad_input`` laws get problems with a misuse. ``plain`` laws get
    problems whose caches have the problem's dtype and which hold neither NaN nor Inf where they are seen. Of a law
    ``to_the_bit`` a contract may say that it holds so; else it holds within the bound.
    """

    check: Check
    phases: tuple[str, ...] = PHASES
    devices: tuple[str, ...] = ("cpu", "cuda")
    bad_input: bool = False
    plain: bool = False
    to_the_bit: bool = False
    scoring: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def statement(self) -> str:
        """The mathematics, from the docstring of the check."""
        return getdoc(self.check) or ""

    def ask(self, backend: Backend, problem: Problem) -> Verdict:
        """`check` within what the backend's contract defines. Raises Violation or OutsideLaw."""
        return self.check(_InContract(backend), problem)

    def breaks(self, backend: Backend, problem: Problem) -> bool:
        """Whether it does there; where it says nothing it does not."""
        try:
            self.ask(backend, problem)
        except Violation:
            return True
        except OutsideLaw:
            pass
        return False

    def asks(self, backend: Backend) -> bool:
        """Whether there is anything to ask it."""
        contract = backend.contract
        has_any = not self.scoring or not contract.scoring.isdisjoint(self.scoring)
        return backend.device in self.devices and not set(self.phases).isdisjoint(contract.phases) and has_any

    def speaks_of(self, problem: Problem, device: str) -> bool:
        """Whether a run would ask it about such a problem there; it may still say nothing (`OutsideLaw`)."""
        special = bool(problem.specials) or problem.cache_format != problem.dtype
        return problem.phase in self.phases and device in self.devices and not (self.plain and special)
