"""Problems that laws of one kind are asked about in one round: drawn once, with what the laws before made of them.

A law that comes later goes through those problems faster than the first one did, and draws further ones in the time
that is left. So every law has its own time, and the later ones see the most problems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy

from properties.generate.profile import try_each
from properties.laws.law import Kind
from properties.shrink.halve import is_large
from verification.backends.protocol import Backend
from verification.problem import Problem
from verification.tensors.shared import Shared

# Draws of the first batch, and of the largest: each has twice as many as the one before. A draw takes 1 ms, so few are
# drawn in vain where the time is over soon.
_FIRST, _MOST = 10, 80
# Bytes that a process keeps of answers. A tiny problem takes some 400 kB, a large one 3 MB and more.
_MEMORY = 2**28


class Key(NamedTuple):
    """All that decides which problems a stream has."""

    kind: Kind
    dtype: str
    seed: int
    """That of the run."""
    round_: int


@dataclass(eq=False)
class Stream:
    """The problems of a kind, a seed and a round, as far as some law has come."""

    key: Key
    """What decides which problems it has."""
    backend: Backend
    """The backend that is asked about them."""
    strategy: SearchStrategy[Problem]
    """Draws them."""
    drawn: list[Shared] = field(default_factory=list)
    """In order, each with what was made of it."""
    batches: list[int] = field(default_factory=list)
    """For each batch, how many were drawn before it."""
    sizes: dict[Shared, int] = field(default_factory=dict)
    """Bytes of what is kept of each."""
    total: int = 0
    """Bytes of all that is kept."""

    def __iter__(self) -> Iterator[Shared]:
        """Yield the problems from the first on; none where the strategy has no other."""
        i = 0
        while i < len(self.drawn) or self._draw():
            yield self.drawn[i]
            i += 1

    def keep(self, shared: Shared) -> None:
        """Keep what was made of a problem, if there is room: what came first stays, since the next law begins there."""
        self.total -= self.sizes.pop(shared, 0)
        size = _count_bytes(shared)
        if self.total + size > _MEMORY:
            shared.made.clear()
        else:
            self.sizes[shared] = size
            self.total += size

    def draw_again(self, shared: Shared, check: Callable[[Problem], None]) -> None:
        """Draw the batch of a problem once more, and check from that one on what Hypothesis makes of it: smaller ones,
        where the check raises a Violation. Those before it held.
        """
        before = self.drawn.index(shared)
        batch = max(i for i, start in enumerate(self.batches) if start <= before)
        is_met = False

        def check_from_there(problem: Problem) -> None:
            nonlocal is_met
            is_met = is_met or problem == shared.problem
            if is_met:
                check(problem)

        try_each(self.strategy, check_from_there, self._seed(batch), self._examples(batch), shrink=True)

    def _draw(self) -> bool:
        """Draw one more batch. Return whether there was another problem in it.

        Hypothesis draws the simplest problem first, whatever the seed, and now and then once more. A slow backend may
        have time for little else, so only the first batch of the first round has it.
        """
        batch, found = len(self.batches), list[Problem]()
        with suppress(Unsatisfiable) if self.drawn else nullcontext():
            try_each(self.strategy, found.append, self._seed(batch), self._examples(batch))
        fresh = [problem for problem in found if problem != found[0]] if batch or self.key.round_ else found
        if not self.key.round_:  # in which every law is to have a turn soon
            fresh.sort(key=is_large)
        self.batches.append(len(self.drawn))
        self.drawn += [Shared(problem, self.backend) for problem in fresh]
        return bool(fresh)

    def _examples(self, batch: int) -> int:
        """Return the number of draws of a batch. A later round has the time for more, of which few may be defined."""
        return min(_MOST, _FIRST << batch + 2 * bool(self.key.round_))

    def _seed(self, batch: int) -> int:
        kind, dtype, seed, round_ = self.key
        return crc32(f"{seed}/{kind}/{dtype}/{round_}/{batch}".encode())


class _Latest:
    """The stream of the latest law in this process: the next one may have the same."""

    stream: Stream | None = None


def open_stream(backend: Backend, key: Key, strategy: SearchStrategy[Problem]) -> Stream:
    """Return the stream of problems for a backend: the one that the law before had, if it was the same."""
    latest = _Latest.stream
    if latest is None or latest.backend is not backend or latest.key != key:
        _Latest.stream = None  # its memory is free before the next one has some
        latest = _Latest.stream = Stream(key, backend, strategy)
    return latest


def _count_bytes(shared: Shared) -> int:
    """Return about how many bytes are kept of a problem: of arrays, each of which has its own memory."""
    made = shared.made
    held: list[int] = []
    if "observation" in made:  # the arena's bytes before and after the call, and the inputs that were written there
        held.append(3 * len(made["observation"].memory))
    if "expectation" in made:
        for sequence, attended in made["expectation"].sequences:
            held += [x.nbytes for x in _arrays((*vars(sequence).values(), *vars(attended).values()))]
    return sum(held)


def _arrays(values: Any) -> Iterator[np.ndarray]:
    return (x for x in values if isinstance(x, np.ndarray))
