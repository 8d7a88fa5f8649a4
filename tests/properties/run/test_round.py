"""A run: the same seed tries the same problems, a budget ends it, and only violations are caught."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from hypothesis import settings

from properties.generate.profile import PROFILE
from properties.laws.law import Law, OutsideLaw
from properties.run.round import fuzz
from tests.properties.wrapped import HONEST, Wrapped
from verification.backends.protocol import Backend
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem

TRIED: list[Problem] = []


def holds(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    """Every problem is fine, and the longer the closer."""
    TRIED.append(problem)
    return Verdict(problem.num_queries / 1000)


def never_holds(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    """No query sees a key."""
    if min(problem.num_queries, sum(problem.key_lens)) > 0:
        raise Violation("a query and a key")
    return Verdict()


def says_nothing(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    """Nothing."""
    raise OutsideLaw("it never does")


def crashes(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    """Never returns."""
    raise RuntimeError("a bug of the harness")


def test_equal_seeds_try_equal_problems() -> None:
    """In the same order, and the digest says so."""
    TRIED.clear()
    one, _, _ = fuzz(Law(holds), HONEST, "float16", 5, examples=60)
    first = TRIED.copy()
    TRIED.clear()
    other, _, _ = fuzz(Law(holds), HONEST, "float16", 5, examples=60)
    assert first == TRIED
    assert one.digest == other.digest != 0
    assert one.problems == len(first) == 60


def sleeps(backend: Backend, problem: Problem) -> Verdict:  # noqa: ARG001
    """Every problem is fine, after 10 ms."""
    TRIED.append(problem)
    time.sleep(0.01)
    return Verdict()


def test_time_ends_a_round() -> None:
    """Between two problems, and not before the first. What was tried counts."""
    start = time.monotonic()
    result = fuzz(Law(sleeps), HONEST, "float16", 5, examples=400, until=start + 0.1).result
    assert 1 <= result.problems <= 11
    assert result.digest
    assert fuzz(Law(sleeps), HONEST, "float16", 5, examples=400, until=start).result.problems == 1


def test_a_later_slice_does_not_ask_the_simplest_problem_again() -> None:
    """With which every round begins: a slow backend would have time for no other. Rounds that are counted ask it."""
    TRIED.clear()
    for round_, until in ((0, 0.0), (1, 0.0), (1, float("inf")), (2, 0.0)):
        fuzz(Law(holds), HONEST, "float16", 5, 2, round_, until=until)
    [simplest, second, again, third, fourth] = TRIED
    assert simplest == again
    assert simplest not in (second, third, fourth)


def test_time_does_not_end_shrinking() -> None:
    """The problem is as small as it is where there is all the time."""
    found = [fuzz(Law(never_holds), HONEST, "float16", seed, 40, 1, until=0.0).broken for seed in range(8)]
    assert {(broken.problem.key_lens, broken.problem.num_heads) for broken in found if broken} == {((1,), 1)}


def test_the_device_has_no_say_in_what_is_tried() -> None:
    """Nor has the backend."""
    one, _, _ = fuzz(Law(holds), HONEST, "float16", 5, examples=40)
    other, _, _ = fuzz(Law(holds), Wrapped(device="elsewhere"), "float16", 5, examples=40)
    assert one.digest == other.digest
    assert (other.device, other.implementation) == ("elsewhere", "wrapped")


@pytest.mark.parametrize(
    ("dtype", "law", "seed"), [("float16", holds, 6), ("bfloat16", holds, 5), ("float16", never_holds, 5)]
)
def test_other_cells_try_other_problems(dtype: str, law: object, seed: int) -> None:
    """Each has a seed of its own."""
    one, _, _ = fuzz(Law(holds), HONEST, "float16", 5, examples=30)
    other, _, _ = fuzz(Law(law), HONEST, dtype, seed, examples=30)  # type: ignore[arg-type]
    assert one.digest != other.digest


def test_what_was_measured_is_kept() -> None:
    """The largest ratio, and no violation."""
    TRIED.clear()
    result, broken, _ = fuzz(Law(holds), HONEST, "float16", 5, examples=60)
    assert broken is None
    assert result.ratio == max(problem.num_queries for problem in TRIED) / 1000
    assert (result.law, result.dtype, result.outside, result.failure) == ("holds", "float16", 0, "")
    assert result.seconds > 0


def test_problems_outside_the_law_are_counted_apart() -> None:
    """They were tried, and not verified."""
    result, broken, _ = fuzz(Law(says_nothing), HONEST, "float16", 5, examples=40)
    assert (result.problems, result.outside, result.verified, broken) == (40, 40, 0, None)
    assert (result.state, result.why, result.reasons) == ("says nothing", "it never does", {"it never does": 40})


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_a_broken_law_ends_at_the_smallest_problem(phase: str) -> None:
    """One of everything, in the words of the violation; shrinking is not counted."""
    result, broken, _ = fuzz(Law(never_holds, phases=(phase,)), HONEST, "float16", 5, examples=200)
    assert broken is not None
    assert str(broken.violation) == "a query and a key"
    problem = broken.problem
    sizes = (problem.num_heads, problem.num_kv_heads, problem.head_dim, problem.query_lens, problem.key_lens)
    assert sizes == (1, 1, 1, (1,), (1,))
    assert (problem.score_fill, problem.value_fill, problem.layout, problem.specials) == (
        "ones",
        "ones",
        "contiguous",
        (),
    )
    assert result.problems < 60
    again, same, _ = fuzz(Law(never_holds, phases=(phase,)), HONEST, "float16", 5, examples=200)
    assert same is not None
    assert same.problem == problem
    assert again.digest == result.digest


def test_a_round_ends_where_it_is_told_to() -> None:
    """With what was tried by then; a problem on which the law broke is kept, though it is not small yet."""
    TRIED.clear()
    result, broken, coverage = fuzz(Law(holds), HONEST, "float16", 5, 60, stop=lambda: len(TRIED) >= 7)
    assert (result.problems, coverage.problems, broken) == (7, 7, None)
    calls = iter(range(1000))
    _, broken, _ = fuzz(Law(never_holds), HONEST, "float16", 5, 200, stop=lambda: next(calls) > 30)
    assert broken is not None
    assert next(calls) < 40


def test_rounds_try_fresh_problems() -> None:
    """A minute does not repeat its first second; and equal rounds are equal."""
    tried = []
    for round_ in (0, 1, 1):
        TRIED.clear()
        fuzz(Law(holds), HONEST, "float16", 5, 60, round_)
        tried.append([problem for problem in TRIED if problem.num_queries])
    assert tried[1] == tried[2]
    assert len({*tried[0], *tried[1]}) > 0.9 * len(tried[0] + tried[1])


def test_what_was_tried_is_counted_by_feature() -> None:
    """Of the problems that count: not of those that made a failure small."""
    result, _, coverage = fuzz(Law(never_holds), HONEST, "float16", 5, 200)
    assert result.problems == coverage.problems < 60


def test_errors_of_the_harness_are_not_caught() -> None:
    """A crash is neither a violation nor a pass."""
    with pytest.raises(RuntimeError, match="a bug of the harness"):
        fuzz(Law(crashes), HONEST, "float16", 5, examples=5)


def test_the_profile_is_complete() -> None:
    """No deadline, no database, nothing derandomised."""
    profile = settings.get_profile(PROFILE)
    assert (profile.deadline, profile.database, profile.derandomize) == (None, None, False)


SCRIPT = """
from hypothesis import settings
from properties.laws.law import Law
from properties.generate.profile import PROFILE
from properties.run.round import fuzz
from verification.backends.attn_core import AttnCore
from verification.oracle.judge import Verdict

def holds(backend, problem):
    return Verdict()

profile = settings.get_profile(PROFILE)
result, _, _ = fuzz(Law(holds), AttnCore(), "float16", 5, examples=130)
print(result.problems, result.digest, profile.deadline, profile.database, profile.derandomize)
"""


def test_ci_changes_nothing() -> None:
    """Hypothesis swaps in another profile where CI is set; and another process makes the same digest."""
    result, _, _ = fuzz(Law(holds), HONEST, "float16", 5, examples=130)
    environment = {**os.environ, "CI": "1", "PYTHONHASHSEED": "77"}
    command = [sys.executable, "-c", SCRIPT]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["130", str(result.digest), "None", "None", "False"]
