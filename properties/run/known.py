"""Knowledge of a run about what broke: the causes that were told, and what each cell goes on without."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from properties.laws import LAWS
from properties.run.causes import Heard, same_cause
from properties.run.cells import Cell
from properties.run.worker import CORPUS, Done
from verification.records.failure import Failure
from verification.records.results import CellResult, Identity
from verification.reporting.events import CauseSpread, Event, LawBroken, RoundEnded

Pair = tuple[str, str]


@dataclass
class Known:
    """Causes of one run. Each is told once; what breaks by it later is told by its name."""

    cells: Sequence[Cell]
    """The cells of the run."""
    save: Callable[[Failure], Failure]
    """Keeps the finding of a failure as a file, and returns the failure with its place."""
    named: Collection[Identity] = ()
    """All cells that the run has announced, those of the corpus too."""
    causes: list[Failure] = field(default_factory=list)
    """One failure for each cause."""
    heard: dict[Identity, Heard] = field(default_factory=dict)
    """What each cell goes on without."""
    broken: set[Identity] = field(default_factory=set)
    """Cells that are told to be broken."""

    def heard_by(self, cell: Cell) -> Heard:
        """Return what the cell goes on without."""
        return self.heard.get(cell.identity, Heard())

    def causes_of(self, cell: Cell) -> tuple[Failure, ...]:
        """Return the known causes of failures of the cell's backend."""
        return tuple(self._of(cell.source, cell.backend.device))

    def take(self, outcome: Done) -> Iterator[Event]:
        """Add what a worker brought, and yield the events that tell of it."""
        mine = outcome.result.cell
        if outcome.result.failure:
            self.broken.add(mine)
        if outcome.heard != Heard():
            self.heard[mine] = self.heard.get(mine, Heard()) | outcome.heard
        for cause in outcome.met:
            yield from self._spread(self._like(cause) or cause, [mine[:2]])
        for failure in outcome.failures:
            yield from self._add(failure)
        if outcome.cannot_run:
            yield from self._add_cannot_run(outcome.cannot_run)

    def _add(self, failure: Failure) -> Iterator[Event]:
        cause = self._like(failure)
        if cause and not _is_simpler(failure, cause):
            yield from self._spread(cause, failure.broken)
            return
        if cause:
            self.causes.remove(cause)
            cells = tuple(dict.fromkeys((*failure.broken, *cause.broken)))
            failure = replace(failure, cells=cells, instead_of=cause.finding.file_name)
        failure = self.save(failure)
        self.causes.append(failure)
        yield LawBroken(failure)
        yield from self._break(failure, failure.broken)

    def _add_cannot_run(self, failure: Failure) -> Iterator[Event]:
        """Add the failure of a backend all of whose cells are broken by it."""
        mine = [
            c for c in self.cells if (c.source, c.backend.device) == (failure.finding.backend, failure.finding.device)
        ]
        pairs = tuple((cell.law.name, cell.dtype) for cell in mine)
        dtypes = dict.fromkeys(cell.dtype for cell in mine)
        yield from self._add(replace(failure, cells=(*pairs, *((CORPUS, dtype) for dtype in dtypes))))
        for cell in mine:
            self.heard[cell.identity] = Heard(ended="the backend cannot run")

    def _like(self, failure: Failure) -> Failure | None:
        """Return the known failure of the same cause."""
        mine = self._of(failure.finding.backend, failure.finding.device)
        return next((cause for cause in mine if same_cause(cause, failure)), None)

    def _of(self, source: str, device: str) -> list[Failure]:
        return [cause for cause in self.causes if (cause.finding.backend, cause.finding.device) == (source, device)]

    def _spread(self, cause: Failure, pairs: Iterable[Pair]) -> Iterator[Event]:
        """Tell that these break by a cause that is known."""
        new = tuple(pair for pair in pairs if pair not in cause.broken)
        if new and cause in self.causes:
            self.causes[self.causes.index(cause)] = cause = replace(cause, cells=(*cause.broken, *new))
            yield CauseSpread(cause.finding.file_name, new)
        yield from self._break(cause, new)

    def _break(self, cause: Failure, pairs: Iterable[Pair]) -> Iterator[Event]:
        """Tell of cells that break on the problem of a cause, whether they have had a turn or not."""
        said = (cause.finding.message.splitlines() or [""])[0]
        own = (cause.finding.law, cause.finding.problem.dtype)
        for pair in pairs:
            identity = (*pair, cause.finding.device, cause.implementation)
            if identity not in self.named:
                continue
            with_ = "" if pair == own else f"with {own[0]} in {own[1]}: "
            if identity not in self.broken:
                self.broken.add(identity)
                yield RoundEnded(CellResult(*identity, failure=f"{with_}{said}"))
            self.heard[identity] = self.heard.get(identity, Heard()).hear(cause)


def _is_simpler(one: Failure, other: Failure) -> bool:
    """Return True if the law of the first failure comes before that of the other in a run."""
    order = [law.name for law in LAWS]
    return order.index(one.finding.law) < order.index(other.finding.law)
