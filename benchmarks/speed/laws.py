"""Problems a second that the laws are asked about on one core, as a run with a budget of minutes asks them, and what a
call takes longer because the backend is in a process of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from statistics import median

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.run.round import fuzz
from properties.shrink.halve import is_large
from verification.backends.attn_core import AttnCore
from verification.backends.observe import observe_call
from verification.backends.protocol import Backend
from verification.isolation.isolated import end_process, open_backend
from verification.problem import Problem
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import materialize

# A name that the catalogue takes for somebody else's, so that its process is one of its own.
_FOREIGN = "verification.backends.attn_core:AttnCore"
_CRASH_AFTER = 60.0
_CALLS = 200


@dataclass(frozen=True)
class Pace:
    """How fast the laws were asked in one dtype."""

    problems: int
    outside: int
    seconds: float
    broken: tuple[str, ...]
    """Laws that broke, after which they were asked no further."""

    @property
    def per_second(self) -> float:
        return self.problems / self.seconds


def measure_laws(dtype: str, device: str, seed: int, seconds: float, round_: int = 1) -> Pace:
    """Ask every law for so many ``seconds``, those of one kind after each other as one worker does. The first round of
    a run is a small one, so a later one is measured.
    """
    backend = AttnCore(device=device)
    laws = [law for law in LAWS if law.asks(backend, dtype)]
    kinds = [law.kind for law in laws]
    fuzz(laws[0], backend, dtype, seed + 1, 20)  # imports and warm-up
    problems = outside = 0
    broken, start = [], time.monotonic()
    for law in sorted(laws, key=lambda law: kinds.index(law.kind)):
        until = time.monotonic() + seconds
        result = fuzz(law, backend, dtype, seed, 10**6, round_, until=until, shrink=False).result
        problems, outside = problems + result.problems, outside + result.outside
        broken += [law.name] if result.failure else []
    return Pace(problems, outside, time.monotonic() - start, tuple(broken))


def measure_isolation(device: str, seed: int, calls: int = _CALLS) -> tuple[float, float]:
    """Return the seconds of a call in this process, and of the same in one of its own: medians of tiny problems."""
    here, drawn = AttnCore(device=device), list[Problem]()
    try_each(problems_within(here.contract, "float32"), drawn.append, seed, calls)
    tiny = [problem for problem in drawn if not is_large(problem)]
    there = open_backend(_FOREIGN, device, _CRASH_AFTER)
    try:
        measured = [_time_calls(backend, tiny) for backend in (here, there, here, there)]
    finally:
        end_process(there)
    return measured[2], measured[3]  # the first two are warm-up


def _time_calls(backend: Backend, problems: list[Problem]) -> float:
    return median(map(partial(_time_call, backend), problems))


def _time_call(backend: Backend, problem: Problem) -> float:
    arena = materialize(make_inputs(problem), backend.device)
    start = time.perf_counter()
    observe_call(backend.prepare(problem), arena)
    return time.perf_counter() - start
