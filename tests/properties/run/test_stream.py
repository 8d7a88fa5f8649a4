"""Problems that laws share: the same for each law of a kind, asked once, and judged as if each law were alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.laws.law import Law, OutsideLaw
from properties.run import stream
from properties.run.round import Round, fuzz
from tests.properties.wrapped import HONEST, nudged_where
from verification.backends.observe import listening
from verification.backends.protocol import Backend, Call
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem
from verification.problem.table import TENSORS
from verification.tensors.materialize import Arena
from verification.tensors.observation import Observation
from verification.tensors.shared import Shared, sharing

BY_NAME = {law.name: law for law in LAWS}
AGREES, FINITE = BY_NAME["agrees_with_reference"], BY_NAME["finite_stays_finite"]
SOON = 3600.0


@pytest.fixture(autouse=True)
def nothing_drawn() -> Iterator[None]:
    """Each test begins as a process does."""
    stream._Latest.stream = None
    yield
    stream._Latest.stream = None


@dataclass
class Calls:
    """Problems of all calls."""

    problems: list[Problem] = field(default_factory=list)

    def about_to_call(self, call: Call, arena: Arena) -> None:  # noqa: ARG002
        self.problems.append(arena.inputs.problem)

    def called(self, call: Call, observation: Observation) -> None: ...


def ask(law: Law, backend: Backend = HONEST, examples: int = 12, round_: int = 0) -> tuple[Round, list[Problem]]:
    """A slice of time that ends by the number of problems, and the calls that were made."""
    with listening(calls := Calls()):
        found = fuzz(law, backend, "float16", 5, examples, round_, until=time.monotonic() + SOON)
    return found, calls.problems


def test_laws_of_a_kind_are_asked_about_the_same_problems() -> None:
    """The second one makes no call, and gets further where it has the time."""
    first, calls = ask(AGREES)
    second, more = ask(FINITE)
    assert len(calls) == first.result.problems == second.result.problems == 12
    assert first.result.digest == second.result.digest != 0
    assert not more
    longer, rest = ask(FINITE, examples=14)
    assert (longer.result.problems, len(rest)) == (14, 2)


def test_a_law_alone_is_asked_about_the_same_problems() -> None:
    """As after others, in a process that had another kind before, whatever the device."""
    first, _ = ask(AGREES)
    after, _ = ask(FINITE)
    ask(BY_NAME["poison_is_invisible"], examples=2)
    alone, calls = ask(FINITE)
    assert first.result.digest == after.result.digest == alone.result.digest
    assert len(calls) == 12
    assert ask(FINITE, round_=1)[0].result.digest != alone.result.digest


@pytest.mark.parametrize("name", ["same_call_same_bits", "other_shapes_do_not_matter", "threads_do_not_matter"])
def test_laws_of_repetition_make_all_their_calls(name: str) -> None:
    """Also where another law has just asked the same."""
    alone = ask(BY_NAME[name], examples=6)[1]
    stream._Latest.stream = None
    ask(BY_NAME["index_dtype_does_not_matter"], examples=6)
    assert ask(BY_NAME[name], examples=6)[1] == alone != []


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is made again, and nothing else changes."""
    first, calls = ask(AGREES)
    stream._Latest.stream = None
    monkeypatch.setattr(stream, "_MEMORY", 0)
    again, same = ask(AGREES)
    assert ask(FINITE)[1] == same == calls
    assert again.result.digest == first.result.digest
    latest = stream._Latest.stream
    assert latest
    assert not any(shared.made for shared in latest.drawn)


def test_a_law_that_breaks_on_a_shared_problem_has_it_made_small() -> None:
    """By Hypothesis, with calls of its own, and the law that comes next is not asked about anything else."""
    nudged = nudged_where(lambda tensors: tensors.q.shape[0] > 1)
    found, _ = ask(FINITE, nudged, 10)
    assert found.broken is None
    broken = ask(AGREES, nudged, 10)[0].broken
    assert broken
    assert (broken.problem.num_queries, broken.problem.head_dim, broken.problem.score_fill) == (2, 1, "ones")
    assert AGREES.breaks(nudged, broken.problem)


def _outcome(law: Law, problem: Problem) -> Verdict | str:
    try:
        return law.ask(HONEST, problem)
    except (Violation, OutsideLaw) as error:
        return str(error)


def _bytes(shared: Shared) -> list[bytes]:
    """The bytes of all that is kept; none where something is not made yet."""
    if shared.made.keys() != {"inputs", "observation", "expectation"}:
        return []
    inputs, observation, expectation = (shared.made[name] for name in ("inputs", "observation", "expectation"))
    right = (array for expected in expectation.outputs.values() for array in expected)
    held = (array for name in TENSORS if (array := getattr(inputs, name)) is not None)
    kept = (*held, *right, *observation.outputs.values(), observation.memory, observation.arena.before)
    return [array.tobytes() for array in kept]


def test_every_law_says_the_same_as_alone() -> None:
    """And leaves what was made as it was, for the next one."""
    drawn: list[Problem] = []
    try_each(problems_within(HONEST.contract, "float32"), drawn.append, 3, 5)
    laws = [law for law in LAWS if law.asks(HONEST, "float32")]
    for problem in drawn[1:]:
        shared = Shared(problem, HONEST)
        before: list[bytes] = []
        for law in (law for law in laws if law.speaks_of(problem, "cpu")):
            with sharing(None if law.afresh else shared):
                said = _outcome(law, problem)
            assert said == _outcome(law, problem), law.name
            assert before in ([], _bytes(shared)), law.name
            before = _bytes(shared)
        assert before
