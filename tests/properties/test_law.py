"""The list of laws, and what a law says of itself."""

from __future__ import annotations

import pytest

from properties.law import PHASES, Law
from properties.laws import LAWS
from tests.properties.wrapped import HONEST
from verification.backends.protocol import Backend
from verification.oracle.judge import Verdict
from verification.problem import Problem


def some_law(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    """a = b
    for all a.
    """
    return Verdict()


def no_docstring(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    return Verdict()


def test_a_law_has_the_name_and_the_words_of_its_check() -> None:
    """Indentation goes."""
    assert Law(some_law).name == "some_law"
    assert Law(some_law).statement == "a = b\nfor all a."
    assert Law(no_docstring).statement == ""


def test_defaults_speak_of_everything() -> None:
    """All phases, both devices, ordinary input."""
    law = Law(some_law)
    assert (law.phases, law.devices, law.bad_input, law.plain) == (PHASES, ("cpu", "cuda"), False, False)


def test_names_are_unique() -> None:
    """They are how a cell is asked for, and part of its seed."""
    assert len({law.name for law in LAWS}) == len(LAWS) > 15


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_law_is_stated(law: Law) -> None:
    """In a few lines, for phases and devices that exist."""
    assert 0 < len(law.statement.splitlines()) <= 3
    assert law.phases
    assert set(law.phases) <= set(PHASES) == {"prefill", "decode", "chunked"}
    assert set(law.devices) <= {"cpu", "cuda"}


def test_claims_are_laws() -> None:
    """What a backend claims to the last bit is a law that exists."""
    assert HONEST.contract.bitwise <= {law.name for law in LAWS}
