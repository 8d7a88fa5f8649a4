"""How Hypothesis runs for us: one profile, complete, and the same draws from the same seed in every process."""

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

# Complete, and used by name: Hypothesis swaps in another profile where CI is set. No deadline, since the first call on
# a GPU takes seconds; no database, since equal seeds must give equal problems on every machine.
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
_CACHE: LRUCache[Any, Any] = LRUCache(1024)


def try_each(
    strategy: SearchStrategy[Any], check: Callable[[Any], None], base_seed: int, examples: int, *, shrink: bool = False
) -> None:
    """``check`` on ``examples`` draws of ``strategy``. What it raises ends the run, after shrinking where asked for."""
    phases = (Phase.generate, Phase.shrink, Phase.explain) if shrink else (Phase.generate,)
    profile = settings(settings.get_profile(PROFILE), max_examples=examples, phases=phases)

    def test(drawn: Any) -> None:
        check(drawn)

    with own_draws():
        seed(base_seed)(profile(given(strategy)(test)))()


@contextmanager
def own_draws() -> Iterator[None]:
    """While it lasts, no draw depends on what else is loaded: Hypothesis mixes in numbers from the source of local
    modules, so that equal seeds would try other problems in other processes.
    """
    if not hasattr(providers, "_get_local_constants"):  # before it did so
        yield
        return
    with (
        mock.patch.object(providers, "_get_local_constants", constants_ast.Constants),
        mock.patch.object(providers, "CONSTANTS_CACHE", _CACHE),
    ):
        yield
