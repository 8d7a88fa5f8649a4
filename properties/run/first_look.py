"""First look at a backend: one that cannot run at all is told so at once, and not hunted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from hypothesis.errors import Unsatisfiable

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.laws.law import OutsideLaw
from properties.run.round import Broken
from properties.run.telling import Stop, failure_of
from verification.backends.protocol import Backend
from verification.oracle.judge import Violation
from verification.oracle.violation import Crash, Hang
from verification.problem import Problem
from verification.records.failure import Failure

# Problems of each dtype and phase. Hypothesis draws the simplest first, which a kernel may refuse that answers others.
_EACH = 3


def look(backend: Backend, source: str, seed: int, stop: Stop) -> Failure | None:
    """Return the failure of a backend that raises, or crashes, in one way on all problems of a first look.

    The look ends at the first problem that the backend answers, rightly or not.
    """
    agrees, said = LAWS[0], set[str]()
    first: Broken | None = None
    for problem in _first_problems(backend, seed):
        if stop():
            return None
        try:
            agrees.ask(backend, problem)
        except OutsideLaw:
            continue
        except Violation as violation:
            said.add(violation.raised or (str(violation) if isinstance(violation, Crash) else ""))
            if "" in said or len(said) > 1 or isinstance(violation, Hang):
                return None
            first = first or Broken(problem, violation)
        except Exception:  # no violation, as where an adapter cannot prepare a call: the first cell tells
            return None
        else:
            return None
    if first is None:
        return None
    failure = failure_of(agrees, backend, first, source, lambda: True)
    finding = replace(failure.finding, message=f"cannot run: {failure.finding.message}")
    return replace(failure, finding=finding, everywhere=True)


def _first_problems(backend: Backend, seed: int) -> Iterator[Problem]:
    contract = backend.contract
    for phase in contract.phases:
        for dtype in contract.dtypes:
            drawn: list[Problem] = []
            with suppress(Unsatisfiable):
                try_each(problems_within(contract, dtype, (phase,), plain=True), drawn.append, seed, _EACH)
            yield from drawn
