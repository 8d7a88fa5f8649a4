"""Hunts of backends by name: which of them a law kills, after how many problems and seconds, and on what problem."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from properties.laws.claims import check_bitwise
from properties.run.hunt import hunt
from verification.backends.flags import settle
from verification.isolation.isolated import open_backend
from verification.problem.describe import describe
from verification.problem.json_io import to_json


@dataclass(frozen=True)
class Hunted:
    """Fate of one backend."""

    backend: str
    """Name under which the catalogue has it."""
    killed: bool
    """True if a law broke."""
    problems: int
    """How many problems were asked, up to the one that broke."""
    seconds: float
    """Time until a law broke, or of the whole hunt; without the time in which the problem was made small."""
    law: str = ""
    """The law that broke; empty for a survivor."""
    dtype: str = ""
    """Format of q, k and v in which it broke."""
    message: str = ""
    """How it broke, in a line."""
    problem: dict[str, Any] | None = None
    """The smallest problem, as JSON; None for a survivor."""
    words: str = ""
    """The smallest problem in words."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return asdict(self)


def hunt_each(
    names: Sequence[str], device: str, seed: int, seconds: float | None, crash_after: float | None, workers: int
) -> Iterator[Hunted]:
    """Yield what becomes of each backend, in order. ``seconds`` is the time for each, None for as long as it takes.

    Raises UnknownBackend and ClaimError.
    """
    task = partial(hunt_named, device=device, seed=seed, seconds=seconds, crash_after=crash_after)
    if workers == 1:
        yield from map(task, names)
        return
    context = multiprocessing.get_context("spawn")  # a forked process may not use CUDA
    with ProcessPoolExecutor(workers, context, settle) as pool:
        yield from pool.map(task, names)


def hunt_named(name: str, device: str, seed: int, seconds: float | None, crash_after: float | None) -> Hunted:
    """Hunt one backend with the ordinary laws. Raises UnknownBackend and ClaimError."""
    backend = open_backend(name, device, crash_after)
    check_bitwise(backend.contract)
    end = time.monotonic() + seconds if seconds else float("inf")
    found = hunt(backend, seed, stop=lambda: time.monotonic() > end)
    if found.kill is None or found.broken is None:
        return Hunted(name, False, found.problems, found.seconds)
    problem = found.broken.problem
    return Hunted(
        name,
        True,
        found.problems,
        found.seconds,
        found.kill.law,
        found.kill.dtype,
        str(found.broken.violation).splitlines()[0],
        json.loads(to_json(problem)),
        "; ".join(describe(problem).splitlines()),
    )
