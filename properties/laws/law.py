"""Laws: what must hold of every backend, and the decorator that makes a function one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import getdoc
from typing import NamedTuple, get_args

from verification.backends.contract import Contract
from verification.backends.observe import crash_of_preparing
from verification.backends.protocol import Backend, Call, Wrapped
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem
from verification.problem.problem import Phase

PHASES: tuple[str, ...] = get_args(Phase)
DEVICES = ("cpu", "cuda")
CLAIM = "the contract's claim that it holds to the bit (bitwise)"


class OutsideLaw(Exception):
    """Raised where a law says nothing about a problem: such a problem is counted apart, as not verified."""

    def __init__(self, reason: str) -> None:
        """``reason`` is a short sentence: a cell that says nothing shows it."""
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Asked(Wrapped):
    """A backend as a law asks it about problems of one phase, with its contract for that phase.

    Every call of a law goes through it. So the backend is asked only about what its contract speaks of, whatever
    problems the law makes of the one that was drawn.
    """

    phase: str
    to_the_bit: bool = False
    """The contract claims this law to the last bit."""

    @property
    def contract(self) -> Contract:
        """Return the contract for that phase."""
        return self.inner.contract.in_phase(self.phase)

    def prepare(self, problem: Problem) -> Call:
        """Prepare a call. Raises OutsideLaw, with the reason, where the contract promises nothing about ``problem``;
        Crash where the backend raises what is no `Exception`, as SystemExit.
        """
        if reason := self.inner.contract.leaves_out(problem):
            raise OutsideLaw(reason)
        try:
            return super().prepare(problem)
        except BaseException as error:
            crash = crash_of_preparing(error)
            if crash is None:
                raise
        raise crash


Check = Callable[[Asked, Problem], Verdict]


@dataclass(frozen=True)
class Need:
    """Something that a law stands on and not every backend promises. ``words`` name it: they are read after "needs";
    ``met(backend, dtype)`` says whether it is promised for that dtype.
    """

    words: str
    met: Callable[[Backend, str], bool]


class Kind(NamedTuple):
    """A kind of problems, by the fields of the laws that are asked about it: laws of one kind may be asked about the
    same problems.
    """

    phases: tuple[str, ...]
    plain: bool
    bad_input: bool
    half_normal: bool


@dataclass(frozen=True)
class Law:
    """A function that checks one problem, and which problems and backends it is for. Made by the decorator `law`."""

    check: Check
    """Returns what it measured, or raises `Violation` where the law breaks, `OutsideLaw` where it says nothing."""
    phases: tuple[str, ...] = PHASES
    """Phases of the problems that it speaks of."""
    devices: tuple[str, ...] = DEVICES
    """Devices on which it is asked."""
    plain: bool = False
    """Its problems hold neither NaN nor Inf where they are seen, and their caches have the problem's own dtype."""
    bad_input: bool = False
    """Its problems have a misuse, which has to be refused."""
    to_the_bit: bool = False
    """A contract may claim that it holds to the last bit; without the claim it holds within the bound. Half of its
    problems or more have normal numbers: bits of others may not show in which order a kernel adds.
    """
    only_if_claimed: bool = False
    """It says nothing of a backend whose contract does not claim it to the last bit."""
    scoring: tuple[str, ...] = ()
    """Features of `Scoring` of which the contract must have one; empty where none is needed."""
    needs: tuple[Need, ...] = ()
    """What else it needs: without it no problem has anything to say, and there is no cell."""
    afresh: bool = False
    """It checks that calls repeat, so each of its calls is made: none may be the answer that another law got."""

    @property
    def name(self) -> str:
        """The function's name. It is part of the seed of a cell: another name tries other problems."""
        return self.check.__name__

    @property
    def kind(self) -> Kind:
        """The kind of problems that it is asked about."""
        return Kind(self.phases, self.plain, self.bad_input, self.to_the_bit)

    @property
    def statement(self) -> str:
        """The mathematics, from the docstring of the function."""
        return getdoc(self.check) or ""

    def __call__(self, backend: Backend, problem: Problem) -> Verdict:
        """Do what `ask` does: a law is called as the function that it was made of."""
        return self.ask(backend, problem)

    def ask(self, backend: Backend, problem: Problem) -> Verdict:
        """Check one problem within what the backend's contract defines. Raises Violation or OutsideLaw."""
        asked = self.asked(backend, problem.phase)
        if need := self.lacks(asked, problem.dtype):
            raise OutsideLaw(f"the law needs {need}")
        return self.check(asked, problem)

    def asked(self, backend: Backend, phase: str) -> Asked:
        """Return the backend as this law asks it about problems of ``phase``."""
        return Asked(backend, phase, self.is_claimed(backend.contract.in_phase(phase)))

    def breaks(self, backend: Backend, problem: Problem) -> bool:
        """Return whether the law breaks there; where it says nothing it does not."""
        try:
            self.ask(backend, problem)
        except Violation:
            return True
        except OutsideLaw:
            pass
        return False

    def is_claimed(self, contract: Contract) -> bool:
        """Return whether the contract claims that the law holds to the last bit."""
        return self.to_the_bit and self.name in contract.bitwise

    def asks(self, backend: Backend, dtype: str = "") -> bool:
        """Return whether the law can say anything of ``backend`` in ``dtype``, or in any of its dtypes where none is
        given. Where it cannot it has no cell.
        """
        contract = backend.contract
        phases = (self.asked(backend, phase) for phase in contract.phases if phase in self.phases)
        dtypes = (dtype,) if dtype else contract.dtypes
        return backend.device in self.devices and any(not self.lacks(x, name) for x in phases for name in dtypes)

    def lacks(self, backend: Backend, dtype: str) -> str:
        """Return the first thing that the law needs and ``backend`` does not promise; empty where there is none."""
        contract = backend.contract
        if self.scoring and contract.scoring.isdisjoint(self.scoring):
            return " or ".join(self.scoring)
        if self.only_if_claimed and not self.is_claimed(contract):
            return CLAIM
        return next((need.words for need in self.needs if not need.met(backend, dtype)), "")

    def speaks_of(self, problem: Problem, device: str) -> bool:
        """Return whether a run would ask it about such a problem there; it may still say nothing (`OutsideLaw`)."""
        special = bool(problem.specials) or problem.cache_format != problem.dtype
        return problem.phase in self.phases and device in self.devices and not (self.plain and special)

    def requirements(self) -> list[str]:
        """Return all that it needs, in words."""
        phases = [f"phase {' or '.join(self.phases)}"] if self.phases != PHASES else []
        devices = [f"device {' or '.join(self.devices)}"] if self.devices != DEVICES else []
        scoring = [" or ".join(self.scoring)] if self.scoring else []
        return [*phases, *devices, *scoring, *[CLAIM] * self.only_if_claimed, *(need.words for need in self.needs)]


def law(
    *,
    phases: tuple[str, ...] = PHASES,
    devices: tuple[str, ...] = DEVICES,
    plain: bool = False,
    bad_input: bool = False,
    to_the_bit: bool = False,
    only_if_claimed: bool = False,
    scoring: tuple[str, ...] = (),
    needs: tuple[Need, ...] = (),
    afresh: bool = False,
) -> Callable[[Check], Law]:
    """Make a function a `Law` with these fields: its name is the law's name, its docstring the law's mathematics.
    Nothing else has to be said of it anywhere: `properties.laws` finds it in its file.
    """
    return partial(
        Law,
        phases=phases,
        devices=devices,
        plain=plain,
        bad_input=bad_input,
        to_the_bit=to_the_bit,
        only_if_claimed=only_if_claimed,
        scoring=scoring,
        needs=needs,
        afresh=afresh,
    )
