"""What a law is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import getdoc

from verification.backend import Backend
from verification.judge import Verdict
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

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def statement(self) -> str:
        """The mathematics, from the docstring of the check."""
        return getdoc(self.check) or ""
