"""A law asked with patience: its calls may leave work behind that writes to their memory later."""

from __future__ import annotations

from functools import partial

from properties.laws.law import Law
from verification.backends.late import watching
from verification.backends.protocol import Backend
from verification.isolation.isolated import fetch_memory
from verification.oracle.judge import Verdict
from verification.problem import Problem


def ask_patiently(law: Law, backend: Backend, problem: Problem) -> Verdict:
    """Check one problem as `Law.ask` does, then wait and look at the memory of the calls once more.

    Raises LateWrite where it has changed.
    """
    with watching(partial(fetch_memory, backend)) as watch:
        watch.problem = problem
        verdict = law.ask(backend, problem)
        watch.wait()
    return verdict
