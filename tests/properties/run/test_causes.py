"""One cause, one finding: several bugs of a kernel are told in one run, each once, with all that breaks by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from properties.run.causes import same_cause
from properties.run.cells import cells
from properties.run.known import Known
from properties.run.plan import Plan, started, tasks
from properties.run.worker import run_task
from tests.verification.samples import PREFILL
from verification.problem import Scoring
from verification.records.failure import Failure
from verification.records.findings import Finding
from verification.records.results import State
from verification.reporting.events import RoundEnded, RunEnded, RunStarted
from verification.reporting.summary import Summary

BUGS = "tests.verification.many_bugs"
AGREES = ("agrees_with_reference",)


def fuzzed(
    name: str, laws: Sequence[str] = AGREES, dtypes: Sequence[str] = ("float16",), examples: int = 12
) -> tuple[Summary, Known]:
    """Run a session in this process, one task after the other."""
    found = cells([f"{BUGS}:{name}"], ["cpu"])
    chosen = [cell for cell in found if cell.law.name in laws and cell.dtype in dtypes]
    plan = Plan(chosen, 5, examples)
    begun = started(plan)
    known, summary = Known(plan.cells, lambda failure: failure, begun.cells), Summary([begun])
    for task in tasks(plan, known.heard_by, known.causes_of):
        done = run_task(task)
        if done.result.state is not State.NOT_REACHED:
            summary.receive(RoundEnded(done.result))
        for event in known.take(done):
            summary.receive(event)
    return summary, known


def test_each_bug_is_told_once() -> None:
    """By the simplest law, with the others that break by it, in every dtype. Heads that read each other's keys need
    several kv heads, and several heads of each: either is told.
    """
    summary, _ = fuzzed("ThreeBugs")
    blocks, one_key, heads = sorted(failure.need for failure in summary.failures)
    assert (blocks, one_key) == ("a context of several blocks", "a sequence of 1 key")
    assert heads in {"several kv heads", "heads that share a kv head"}
    for failure in summary.failures:
        assert failure.finding.law == "agrees_with_reference"
        assert {dtype for _, dtype in failure.broken} == {"float16", "float32"}
        assert len({law for law, _ in failure.broken}) > 4


def test_a_law_that_breaks_by_a_known_cause_tells_no_other() -> None:
    """The simplest law that breaks on its problem tells whose it is: nothing is made small twice."""
    summary, known = fuzzed("Stale", (*AGREES, "batch_does_not_matter"))
    [failure] = summary.failures
    assert failure.finding.law == "agrees_with_reference"
    assert ("batch_does_not_matter", "float16") in failure.broken
    assert {result.state for result in summary.results} == {State.BROKEN}
    assert {heard.causes for heard in known.heard.values()} == {1}


def test_a_backend_that_cannot_run_is_one_finding() -> None:
    """Told at once, with the kernel's line; its cells are broken by it and get no turn."""
    summary, known = fuzzed("Raises", (*AGREES, "cache_is_exact"), ("float16", "float32"))
    [failure] = summary.failures
    assert failure.finding.message.startswith("cannot run: raised RuntimeError: no plan for ")
    assert failure.frames[-1].endswith('raise RuntimeError(f"no plan for {tensors.q.shape[0]} rows")')
    assert {result.state for result in summary.results} == {State.BROKEN}
    assert summary.problems == 0
    assert all(heard.ended == "the backend cannot run" for heard in known.heard.values())


def test_what_raises_on_some_problems_hides_no_other_bug() -> None:
    """One finding for the exception, in all laws and dtypes, and one for the wrong numbers besides."""
    summary, _ = fuzzed("RaisesForWideHeads", (*AGREES, "stays_in_convex_hull"))
    by_line, by_number = sorted(summary.failures, key=lambda failure: not failure.raised)
    assert "head_dim" in by_line.finding.message
    assert {result.cell[:2] for result in summary.results} < set(by_line.broken)
    assert by_number.difference is not None
    assert len(summary.failures) == 2


def test_an_honest_kernel_has_none() -> None:
    summary, known = fuzzed("Buggy")
    assert {result.state for result in summary.results} <= {State.HELD, State.SAYS_NOTHING}
    assert not known.causes
    assert not known.heard


def test_a_run_that_ends_at_its_first_finding() -> None:
    """Says so of the cells that had no turn."""
    cell = ("a_law", "float16", "cpu", "x")
    summary = Summary([RunStarted("now", 1, cells=(cell,)), RunEnded(1.0, 1, at_first=True)])
    assert summary.why_not_reached == "the run ended at its first finding, as asked"


def test_a_law_that_makes_what_a_cause_needs_finds_no_new_one() -> None:
    """One asks about other shapes too, of one key among them."""
    summary, _ = fuzzed("ThreeBugs", (*AGREES, "other_shapes_do_not_matter"))
    assert len(summary.failures) == 3
    assert {failure.finding.law for failure in summary.failures} == set(AGREES)


def test_a_rule_of_scoring_that_both_need_is_one_cause() -> None:
    """A sink that is left out of a maximum shows where scores are low, and where they are steep: the smallest problem
    that needs steep ones has the sink besides. Of another feature that would not do: sequences are rarely alone.
    """
    with_sinks = replace(PREFILL, scoring=Scoring(sinks=True))
    low = Failure(Finding(with_sinks), "", need="scoring: sinks")
    steep = Failure(Finding(replace(with_sinks, score_fill="steep")), "", need="score fill: steep")
    assert same_cause(low, steep)
    assert same_cause(steep, low)
    without = Failure(Finding(replace(PREFILL, score_fill="steep")), "", need="score fill: steep")
    assert not same_cause(low, without)
    assert not same_cause(replace(low, need="several sequences"), steep)
