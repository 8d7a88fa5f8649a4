"""Hypothesis's profile for our runs, which gives the same draws for the same seed in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.internal import constants_ast
from hypothesis.internal.cache import LRUCache
from hypothesis.internal.conjecture import providers
from hypothesis.strategies import SearchStrategy

# All settings are named, and the profile is used by name: Hypothesis chooses another one where CI is set. No deadline,
# since the first call on a GPU takes seconds; no database, since equal seeds must give equal problems on every machine.
PROFILE = "attention-fuzz"
settings.register_profile(
    PROFILE,
    settings(
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    ),
)
# Takes the place of Hypothesis's cache of constants, which may hold numbers from the source of local modules. Its size
# is Hypothesis's own.
_CACHE: LRUCache[Any, Any] = LRUCache(1024)


def try_each(
    strategy: SearchStrategy[Any], check: Callable[[Any], None], base_seed: int, examples: int, *, shrink: bool = False
) -> None:
    """Call ``check`` on ``examples`` draws of ``strategy``. Its first exception ends the run; with ``shrink`` it is
    that of the simplest draw which raises it.
    """
    phases = (Phase.generate, Phase.shrink, Phase.explain) if shrink else (Phase.generate,)
    profile = settings(settings.get_profile(PROFILE), max_examples=examples, phases=phases)

    def test(drawn: Any) -> None:
        check(drawn)

    with own_draws():
        seed(base_seed)(profile(given(strategy)(test)))()


@contextmanager
def own_draws() -> Iterator[None]:
    """Keep draws from depending on the modules that are loaded.

    Hypothesis mixes numbers from the source of local modules into its draws, so that equal seeds would try other
    problems in other processes.
    """
    if not hasattr(providers, "_get_local_constants"):  # older releases of Hypothesis do not
        yield
        return
    with (
        mock.patch.object(providers, "_get_local_constants", constants_ast.Constants),
        mock.patch.object(providers, "CONSTANTS_CACHE", _CACHE),
    ):
        yield
