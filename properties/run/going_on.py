"""A round of a cell that goes on after a break, without what the smallest problem needs: the next bug shows too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis.errors import Unsatisfiable

from properties.laws import LAWS
from properties.laws.law import Law
from properties.run.afresh import History
from properties.run.causes import NOTHING_HEARD, Heard, known_cause, same_cause
from properties.run.round import After, Broken, fuzz
from properties.run.telling import tell_failure
from verification.backends.protocol import Backend
from verification.oracle.judge import Violation
from verification.problem import Problem
from verification.records.coverage import Coverage
from verification.records.failure import Failure
from verification.records.results import CellResult


@dataclass
class CellRound:
    """A round of one cell, in turns: each ends where the law breaks, and the next one goes on without that."""

    law: Law
    """The law that is asked."""
    backend: Backend
    """The backend that it is asked of."""
    source: str
    """Name under which the catalogue has the backend."""
    dtype: str
    """Format of q, k and v."""
    seed: int
    """The seed of the run."""
    history: History
    """Calls that this process has made of the backend."""
    stop: Callable[[], bool]
    """Returns True once somebody wants the round to end."""
    causes: list[Failure] = field(default_factory=list)
    """Causes that are known of the backend."""
    heard: Heard = NOTHING_HEARD
    """What the cell goes on without."""
    found: list[Failure] = field(default_factory=list)
    """Failures of causes that were not known."""
    met: list[Failure] = field(default_factory=list)
    """Known causes by which the cell broke."""

    def run(self, examples: int, round_: int = 0, seconds: float | None = None) -> tuple[CellResult, Coverage]:
        """Try so many problems, in as many turns as it takes; fewer where ``seconds`` are over before. Return what came
        of all turns together.
        """
        until = float("inf") if seconds is None else time.monotonic() + seconds
        total: CellResult | None = None
        coverage, turn = Coverage.of([]), 0
        simpler = tuple(LAWS[: LAWS.index(self.law)]) if self.law in LAWS else ()
        while examples > 0 and not self.heard.ended and not (turn and (self.stop() or time.monotonic() > until)):
            after = After(self.heard.without, self.heard.raised, turn, simpler, self._knows)
            try:
                asked = self.law, self.backend, self.dtype, self.seed, examples, round_, self.stop
                result, broken, tried = fuzz(*asked, after=after, until=until)
            except Unsatisfiable:
                if not self.heard.without:
                    raise
                self.heard = replace(self.heard, ended=f"no problem is left without {', '.join(self.heard.without)}")
                break
            total, coverage = total + result if total else result, coverage + tried
            examples, turn = examples - max(1, result.problems), turn + 1
            if broken is None:
                break
            self._hear(broken)
        identity = self.law.name, self.dtype, self.backend.device, self.backend.name
        result = total or CellResult(*identity)
        return replace(result, ended=self.heard.ended), coverage

    def _knows(self, law: Law, problem: Problem, violation: Violation) -> bool:
        return known_cause(self.causes, law, self.backend, problem, violation) is not None

    def _hear(self, broken: Broken) -> None:
        """Tell whose failure it is: that of a known cause, or of a new one."""
        law = broken.law or self.law
        known = known_cause(self.causes, law, self.backend, broken.problem, broken.violation)
        if known is None:
            given = (broken, self.source, self.history, self.seed, self.stop, self.heard.without)
            failure = tell_failure(law, self.backend, *given)
            failure = replace(failure, cells=tuple(dict.fromkeys((*failure.cells, (self.law.name, self.dtype)))))
            known = next((cause for cause in self.causes if same_cause(cause, failure)), None)
            self.heard = self.heard.hear(failure)
            if known is None:
                self.found.append(failure)
                self.causes.append(failure)
                return
        self.met.append(known)
        self.heard = self.heard.hear(known)
