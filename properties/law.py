"""What a law is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc
from typing import get_args

from verification.backends.contract import Contract
from verification.backends.protocol import Backend, Call, Wrapped
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem
from verification.problem.problem import Phase

PHASES: tuple[str, ...] = get_args(Phase)
Check = Callable[[Backend, Problem], Verdict]


class OutsideLaw(Exception):
    """The law says nothing about this problem. Counted apart: such a problem was not verified."""


@dataclass(frozen=True)
class _InContract(Wrapped):
    """A backend that shows a law its contract for one phase. It is not asked about what that leaves undefined, to which
    a law may come from another problem; nor, in another phase, about anything that is not promised there.
    """

    phase: str

    @property
    def contract(self) -> Contract:
        return self.inner.contract.in_phase(self.phase)

    def prepare(self, problem: Problem) -> Call:
        promised = self.contract.defines if problem.phase == self.phase else self.contract.speaks_of
        if not promised(problem):
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
        """Return what `check` measures within the backend's contract for that phase. Raises Violation or OutsideLaw."""
        return self.check(_InContract(backend, problem.phase), problem)

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
        """Tell whether there is anything to ask it, in some phase."""
        phases = [backend.contract.in_phase(phase) for phase in self.phases if phase in backend.contract.phases]
        has_any = not self.scoring or any(not own.scoring.isdisjoint(self.scoring) for own in phases)
        return backend.device in self.devices and bool(phases) and has_any

    def speaks_of(self, problem: Problem, device: str) -> bool:
        """Whether a run would ask it about such a problem there; it may still say nothing (`OutsideLaw`)."""
        special = bool(problem.specials) or problem.cache_format != problem.dtype
        return problem.phase in self.phases and device in self.devices and not (self.plain and special)
