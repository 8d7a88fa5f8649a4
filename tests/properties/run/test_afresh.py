"""Failures asked again in a fresh process: those that need earlier calls, and those that come and go."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from torch import Tensor

from properties.laws import LAWS
from properties.run.afresh import History, Repeated, breaks_after, make_afresh, repeat
from properties.run.worker import replay
from properties.show.recorded import write_script
from tests.verification.isolated import run_isolated
from tests.verification.many_bugs import Buggy
from verification.backends.observe import listening
from verification.backends.snippet import ScriptError
from verification.catalogue import backend_named
from verification.problem import Problem
from verification.problem.reading import ProblemError
from verification.records.findings import Finding, read
from verification.tensors.materialize import Tensors

STALE, DENSE_STALE = "tests.verification.many_bugs:Stale", "tests.verification.many_bugs:DenseStale"
ONE_PAGE = Problem(
    "decode", "float16", 1, 1, 1, (1,), (1,), 1, 2, (0,), ((0, 1),), score_fill="normal", value_fill="normal"
)
TWO_PAGES = replace(ONE_PAGE, key_lens=(2,), slot_mapping=(1,))
AGREES = LAWS[0]
CALLS = count()


class ComesAndGoes(Buggy):
    """Every third call is wrong."""

    name = "somebody/comes and goes"

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        right = super().attend(problem, tensors)
        return right + 1 if next(CALLS) % 3 == 2 else right


def never() -> bool:
    return False


def test_the_calls_before_it_belong_to_a_failure() -> None:
    """No more of them than it takes."""
    stale, history = make_afresh(backend_named(STALE), STALE), History()
    two = replace(ONE_PAGE, query_lens=(1, 1), key_lens=(1, 1), slot_mapping=(0, 1), block_tables=((0,), (1,)))
    with listening(history):
        for problem in (two, ONE_PAGE, two, two):
            assert not AGREES.breaks(stale, problem)
        assert AGREES.breaks(stale, TWO_PAGES)
    assert not breaks_after((), AGREES, TWO_PAGES, stale, STALE)
    assert repeat(AGREES, TWO_PAGES, stale, STALE, history, never) == Repeated((ONE_PAGE,))


def test_what_stands_alone_has_none() -> None:
    name = "tests.verification.many_bugs:TwoBugs"
    assert repeat(AGREES, TWO_PAGES, backend_named(name), name, History(), never) == Repeated()


def test_what_comes_and_goes_is_called_so() -> None:
    again = repeat(AGREES, ONE_PAGE, ComesAndGoes(), "no name", History(), never)
    assert again.note == "not repeatable, it broke 1 of 5 times it was asked again"


def test_a_finding_with_calls_before_it_is_kept_replayed_and_scripted() -> None:
    """As two calls of one object; without the first of them the law holds."""
    finding = Finding(TWO_PAGES, AGREES.name, STALE, "cpu", "wrong", (ONE_PAGE,))
    assert read(finding.to_json()) == finding
    assert read(finding.to_line()) == replace(finding, message="")
    assert finding.file_name != replace(finding, before=()).file_name
    backend = backend_named(STALE)
    _, [failure] = replay(TWO_PAGES, backend, [AGREES], STALE, (ONE_PAGE,))
    assert failure.finding.before == (ONE_PAGE,)
    assert not replay(TWO_PAGES, make_afresh(backend, STALE), [AGREES], STALE)[1]
    text = write_script(finding, AGREES, make_afresh(backend, STALE))
    assert "kernel = Stale()" in text
    assert [f"layer_{i} = partial(kernel.attend, " in text for i in (1, 2, 3)] == [True, True, False]


WIDE = replace(ONE_PAGE, phase="prefill", num_blocks=0, slot_mapping=(), block_tables=(), head_dim=16)
WIDE = replace(WIDE, query_lens=(2,), key_lens=(2,))
NARROW = replace(WIDE, head_dim=1, query_lens=(1,), key_lens=(1,))


def test_a_script_of_a_dense_kernel_makes_the_calls_before_it(tmp_path: Path) -> None:
    """Of one object, each with its own mask and scale. Without the first of them the script comes to its end."""
    finding = Finding(WIDE, AGREES.name, DENSE_STALE, "cpu", "wrong", (NARROW,))
    text = write_script(finding, AGREES, make_afresh(backend_named(DENSE_STALE), DENSE_STALE))
    assert "def call(layer, q, k, v, causal, scale):" in text
    first = "    call(layer, q_1, k_1, v_1, False, 1.0)\n"
    assert f"    layer = DenseStale()\n{first}" in text
    assert "out = call(layer, q_2, k_2, v_2, True, 0.25)" in text
    assert finding.file_name in read_problem(text).file_name
    ended = run_isolated({"it": text, "second alone": text.replace(first, "")}, tmp_path)
    assert ended["it"].error.startswith("AssertionError: head 0, query 1"), ended["it"]
    assert (ended["second alone"].error, ended["second alone"].printed) == ("", "ok\n")
    with pytest.raises(ScriptError, match="holds on this problem"):
        write_script(replace(finding, before=()), AGREES, make_afresh(backend_named(DENSE_STALE), DENSE_STALE))


def read_problem(script: str) -> Finding:
    """Return the finding that a script says it is of."""
    [line] = [line for line in script.splitlines() if '"version"' in line]
    return read(line.removeprefix("#").strip())


def test_an_earlier_call_of_the_law_itself_is_made_too(tmp_path: Path) -> None:
    """Where the wrong call alone is right: here the law asks a shorter problem first."""
    law = next(law for law in LAWS if law.name == "other_shapes_do_not_matter")
    text = write_script(WIDE, law, make_afresh(backend_named(DENSE_STALE), DENSE_STALE))
    assert run_isolated({"it": text}, tmp_path)["it"].error.startswith("AssertionError: head ")


def test_calls_before_are_read_as_problems_are() -> None:
    text = Finding(TWO_PAGES, before=(ONE_PAGE,)).to_json().replace('"before": [', '"before": [3, ')
    with pytest.raises(ProblemError, match="problem"):
        read(text)


def test_the_history_is_left_as_it_was() -> None:
    """What is asked again here is none of it."""
    stale, history = make_afresh(backend_named(STALE), STALE), History()
    with listening(history):
        assert not AGREES.breaks(stale, ONE_PAGE)
        repeat(AGREES, TWO_PAGES, stale, STALE, history, never)
    assert history.first == list(history.last) == [ONE_PAGE]
