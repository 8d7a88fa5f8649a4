"""Hunt one backend with all the laws until one of them breaks: how long does a bug live?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle

from properties.laws import LAWS
from properties.run.round import Broken, Round, fuzz
from verification.backends.protocol import Backend
from verification.records.results import CellResult

# Every law tries a few problems before any tries many, and each round is in another dtype: most bugs show at once, in
# whatever format, and the rare ones need a law's full attention.
ROUNDS = (25, 50, 100, 200, 400)
_DTYPES = ("float16", "float32", "bfloat16", "float64")


@dataclass(frozen=True)
class Hunt:
    """Result of a hunt: ``problems`` were tried in ``seconds`` by all laws together until one broke, or until the
    budget was spent. ``kill`` and ``broken`` are None for a survivor; the time that it took to make the problem small
    is not counted.
    """

    problems: int
    seconds: float
    kill: CellResult | None = None
    broken: Broken | None = None


def hunt(
    backend: Backend, base_seed: int, rounds: tuple[int, ...] = ROUNDS, stop: Callable[[], bool] = lambda: False
) -> Hunt:
    """Ask the ordinary laws of ordinary problems, nothing tuned to what is hunted. Equal seeds hunt equally, unless
    ``stop`` becomes true first.
    """
    problems, seconds = 0, 0.0
    for result, broken, _ in _cells(backend, base_seed, rounds, stop):
        problems += result.problems
        seconds += result.found_after if broken else result.seconds
        if broken:
            return Hunt(problems, seconds, result, broken)
    return Hunt(problems, seconds)


def _cells(backend: Backend, base_seed: int, rounds: tuple[int, ...], stop: Callable[[], bool]) -> Iterator[Round]:
    dtypes = cycle(dtype for dtype in _DTYPES if dtype in backend.contract.dtypes)
    for i, (examples, dtype) in enumerate(zip(rounds, dtypes, strict=False)):
        for law in LAWS:
            if law.asks(backend, dtype) and not stop():
                yield fuzz(law, backend, dtype, base_seed + i, examples, stop=stop)
