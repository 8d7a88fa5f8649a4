"""What a law is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc

from verification.backend import Backend
from verification.judge import Verdict, Violation
from verification.problem import Problem

Check = Callable[[Backend, Problem], Verdict]


class OutsideLaw(Exception):
    """The law says nothing about this problem. Counted apart: such a problem was not verified."""


@dataclass(frozen=True)
class Law:
    """``check(backend, problem)`` raises `Violation`, or returns what it measured.

    ``phases`` and ``devices`` are those it speaks of. ``bad_input`` laws get problems with a misuse. ``plain`` laws get
    problems whose caches have the problem's dtype and which hold neither NaN nor Inf where they are seen.
    """

    check: Check
    phases: tuple[str, ...] = ("prefill", "decode")
    devices: tuple[str, ...] = ("cpu", "cuda")
    bad_input: bool = False
    plain: bool = False
    scoring: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def statement(self) -> str:
        """The mathematics, from the docstring of the check."""
        return getdoc(self.check) or ""

    def breaks(self, backend: Backend, problem: Problem) -> bool:
        """Whether it does there; where it says nothing it does not."""
        try:
            self.check(backend, problem)
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
