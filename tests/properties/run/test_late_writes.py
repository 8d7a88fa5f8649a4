"""A round, a replay and a script where a backend writes to memory after its calls have returned."""

from __future__ import annotations

import time

import pytest

from properties.laws import LAWS
from properties.laws.law import Law, OutsideLaw
from properties.laws.patience import ask_patiently
from properties.run.afresh import History
from properties.run.going_on import CellRound
from properties.run.round import fuzz
from properties.run.worker import failure_of, replay
from properties.show.recorded import write_script
from tests.verification.late import AT_ONCE, HONEST, IN_A_GUARD, LATER, SOON, Late
from tests.verification.samples import DECODE, PREFILL
from verification.backends.snippet import ScriptError
from verification.isolation.isolated import Isolated, open_backend
from verification.oracle.violation import LATE, LateWrite
from verification.records.findings import Finding

AGREES = next(law for law in LAWS if law.name == "agrees_with_reference")
WRITERS = {"5 ms": SOON, "20 ms": LATER, "in a guard": IN_A_GUARD}


@pytest.mark.parametrize("name", WRITERS)
def test_a_round_tells_of_it(name: str) -> None:
    """Under a law that looks at outputs alone; and makes the problem small, though each look has to wait."""
    start = time.monotonic()
    result, broken, _ = fuzz(AGREES, WRITERS[name], "float32", 1, 10)
    assert broken is not None
    assert isinstance(broken.violation, LateWrite)
    assert result.failure.startswith("memory was written after the call had returned")
    assert broken.problem.num_tokens <= 3
    assert time.monotonic() - start < 20


def test_an_honest_round_waits_once() -> None:
    """All calls but the last ones are old enough by the time that others have been made."""
    result, broken, _ = fuzz(AGREES, HONEST, "float32", 1, 30)
    assert broken is None
    assert result.problems == 30


def test_a_cell_tells_of_it_once_and_goes_on() -> None:
    """Cells of other laws meet the same cause, though none of their laws breaks on its problem without patience."""
    given = LATER, "late", "float32", 1, History(), lambda: False
    cell = CellRound(AGREES, *given)
    result, _ = cell.run(40)
    assert result.problems == 40
    assert [failure.raised for failure in cell.found] == [LATE]
    other = CellRound(next(law for law in LAWS if law.name == "cache_is_exact"), *given, list(cell.found))
    other.run(20)
    assert (other.found, other.met) == ([], cell.found)


@pytest.mark.parametrize("backend", [AT_ONCE, LATER], ids=["0 ms", "20 ms"])
@pytest.mark.parametrize("law", ["same_call_same_bits", "cache_is_exact"])
def test_other_laws_tell_of_it(law: str, backend: Late) -> None:
    """Whatever calls they make. What is written before the first look is in what a law of memory sees."""
    asked = next(one for one in LAWS if one.name == law)
    _, broken, _ = fuzz(asked, backend, "float32", 1, 10, shrink=False)
    assert broken is not None


def test_a_write_in_another_process_is_told() -> None:
    """Its memory is fetched once more; a call after which nothing is written is not accused."""
    backend = open_backend("tests.verification.late:AFTER_A_PREFILL", "cpu", 60.0)
    assert isinstance(backend, Isolated)
    try:
        ask_patiently(AGREES, backend, DECODE)
        with pytest.raises(LateWrite, match=r"v_cache\[0\] holds"):
            ask_patiently(AGREES, backend, PREFILL)
        _, broken, _ = fuzz(AGREES, backend, "float32", 1, 30, shrink=False)
        assert broken is not None
        assert isinstance(broken.violation, LateWrite)
        assert broken.problem.phase == "prefill"
    finally:
        backend.host.close()


def test_a_finding_is_replayed_with_patience() -> None:
    """It breaks the first law that is asked, and the others are not waited for."""
    ratio, failures = replay(DECODE, LATER, LAWS, patient=True)
    assert ratio is not None
    assert len(failures) == 1
    assert "after the call had returned" in failures[0].finding.message


def test_what_matters_is_not_looked_for() -> None:
    """Each look would wait."""
    _, broken, _ = fuzz(AGREES, LATER, "float32", 1, 5, shrink=False)
    assert broken is not None
    assert failure_of(AGREES, LATER, broken, "late").any_ == ()


def test_a_script_says_that_it_cannot_show_it() -> None:
    """It looks once."""
    with pytest.raises(ScriptError, match="a script looks once"):
        write_script(Finding(DECODE, AGREES.name, "", "cpu", ""), AGREES, LATER)


def test_patience_changes_no_verdict() -> None:
    """What a law says of an honest backend, it says."""
    for law in (law for law in LAWS if law.speaks_of(DECODE, "cpu")):
        assert _said(law, HONEST, Law.ask) == _said(law, HONEST, ask_patiently)


def _said(law: Law, backend: Late, ask: object) -> str:
    try:
        return repr(ask(law, backend, DECODE))  # type: ignore[operator]
    except OutsideLaw as outside:
        return outside.reason
