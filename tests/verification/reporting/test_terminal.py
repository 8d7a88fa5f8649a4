"""What is on the screen: while it goes on, when a law breaks, and at the end."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from tests.verification.reporting.samples import STARTED, cells, events, failures, five, hostile, passed
from tests.verification.samples import DECODE, PREFILL
from verification.problem import Problem
from verification.problem.scoring import Scoring
from verification.records.results import CellResult
from verification.reporting.broken import render_failure
from verification.reporting.draw import draw_problem
from verification.reporting.events import LawBroken, RoundEnded, RunEnded, RunReady, RunStarted
from verification.reporting.pace import Pace
from verification.reporting.pictures import picture
from verification.reporting.terminal import Terminal


def told(*heard: object, table: str = "laws", terminal: bool = False) -> str:
    """All that a reporter prints."""
    stream = io.StringIO()
    console = Console(file=stream, width=140, force_terminal=terminal, color_system=None)
    reporter = Terminal(console, time.monotonic() - 10, table)
    for event in heard:
        reporter.receive(event)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_shows_how_it_goes(terminal: bool) -> None:
    """Problems a second, findings, and the time that is left; in a log too."""
    text = told(
        *(event for event in events() if isinstance(event, RunStarted | RunReady | RoundEnded)), terminal=terminal
    )
    assert "seed 7; 6 cells, 2 minutes, 2 workers; python 3.12.4" in text
    assert "started in 8 s; the 2 minutes begin here" in text
    if not terminal:
        assert "[0:10] 500 problems, 250/s, 0 findings, 1:58 left, 1 of 6 cells reached" in text
        assert "\x1b" not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_end_of_a_run(terminal: bool) -> None:
    """Tables, each finding in full, totals."""
    text = told(*events(), terminal=terminal)
    assert "cpu attn_core/eager" in text
    assert text.count("The smallest problem found") == 4
    assert "NOT KEPT in disk full" in text
    assert "12 cells: 4 held, 2 broken, 0 say nothing, 0 not reached, 6 not run (no CUDA device)" in " ".join(
        text.split()
    )
    assert "3 laws broken; exit code 1; 120 s, 8 of them start-up, 25 problems/s" in text
    passed_text = " ".join(told(*passed_events()).split())
    assert "2 cells: 2 held, 0 broken, 0 say nothing, 0 not reached, 0 not run" in passed_text
    assert "No violation in 960 problems; exit code 0" in passed_text


def passed_events() -> list[object]:
    summary = passed()
    return [summary.runs[0], *map(RoundEnded, summary.results), summary.endings[0]]


def test_the_matrix() -> None:
    """Device and implementation by dtype; what could not run is no pass."""
    text = told(*events(), table="matrix")
    assert "device / implementation" in text
    assert "not run: no CUDA device" in text


def test_a_law_that_breaks_is_told_at_once() -> None:
    """A line and its file; the whole problem where there is no file."""
    kept, *_, lost = failures()
    text = " ".join(told(STARTED, LawBroken(kept), LawBroken(lost)).split())
    said = "3 of 32 elements out of bound"
    assert f"BROKEN agrees_with_reference by attn_core/eager on cpu, float16: {said} {kept.kept}" in text
    assert "NOT KEPT in disk full" in text
    assert '"query_lens": [1], "key_lens": [1]' in text


def test_a_run_of_nothing() -> None:
    """No division by what there is none of; the start took it all."""
    text = told(STARTED, RunEnded(0.0, 3))
    assert "0 problems" in text
    assert "Nothing was verified; exit code 3; 0 s, no problem finished by then" in text
    assert "violation" not in text


def test_what_verified_nothing_is_named() -> None:
    """With the reason, and as few words as that takes."""
    five_of_them = five()
    rounds = [RoundEnded(result) for result in five_of_them.results]
    text = " ".join(told(five_of_them.runs[0], *rounds, RunEnded(5.0, 3)).split())
    assert "says nothing: first-float32-cpu-x: the call has no cache; another reason" in text
    assert "not reached, since the budget ended first: second-float32-cpu-x" in text
    text = " ".join(told(five_of_them.runs[0], RunEnded(5.0, 3, error="WorkerDied: gone")).split())
    assert "not reached, since the run died first: {first,second}-{float16,float32}-cpu-x" in text
    assert "The run died after 0 verified problems: WorkerDied: gone; exit code 3" in text
    assert "violation" not in text


def test_hostile_texts_are_texts() -> None:
    """Markup of rich is not obeyed."""
    failure = replace(failures()[0], statement="[red]not red[/]", kept="[link=x]")
    failure = replace(failure, finding=replace(failure.finding, law="[bold]law[/bold]", message="[/] [x"))
    for event in (LawBroken(failure), *map(LawBroken, hostile().failures)):
        text = told(STARTED, event, RunEnded(1.0, 1))
        assert "[red]not red[/]" in text or "<script>" in text


def report(index: int) -> str:
    console = Console(file=io.StringIO(), width=140, color_system=None)
    console.print(render_failure(failures()[index]))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_report_says_it_all() -> None:
    """Law, statement, worst element, what the others have in common, problem, what matters, what to do."""
    text = report(0)
    for part in (
        "agrees_with_reference is broken by attn_core/eager on cpu",
        "|out - exact| <= bound",
        "sequence 0, token 2, head 1, dim 0",
        "0.75",
        "0.25",
        "0.001",
        "3 of 32 elements are wrong: 2 too large, 1 too small; off by +0.125 on average",
        "prefill in float16: 2 heads over 1 kv head, head_dim 4",
        "It is as if it saw nothing.",
        "Breaks as well with any other seed, value fill.",
        "attn_core/masks.py:12",
        "attn-verify replay findings/agrees_with_reference-",
        "attn-verify script findings/agrees_with_reference-",
        "q2   ■■■  sees 3 of 3  <- wrong",
        "q0   ■··  sees 1 of 3",
    ):
        assert part in text, part


def test_where_a_decode_reads() -> None:
    """Each block with its slots; what is not in the cache, not needed, or not seen."""
    text = report(1)
    for part in (
        "0  <- wrong │ 5",
        "[0] block 2: slots 4-5 seen",
        "[1] block 99: not in the cache, its tokens are not seen",
        "[2] block 0: slots 0 seen, 1 not",
        "[0] block 1: slots 2-3 seen",
        "not needed: -1, 3",
        "block 0, offset 0",
        "not stored",
    ):
        assert part in text, part


def test_a_window_is_drawn() -> None:
    """What lies before it is hidden; of a context it is said."""

    def shown(problem: Problem) -> str:
        console = Console(file=io.StringIO(), width=100)
        console.print(draw_problem(replace(problem, scoring=Scoring(window=2))))
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    text = shown(PREFILL)
    assert "q1   ■■·  sees 2 of 3" in text
    assert "q2   ·■■  sees 2 of 3" in text
    assert "of these a query sees the last 2, its own included" in shown(DECODE)
    grid = picture(replace(PREFILL, scoring=Scoring(window=2)), None).grids[0]
    assert grid.queries[2].sees == [False, True, True]
    context = picture(replace(DECODE, scoring=Scoring(window=2)), None).contexts[0]
    assert context.title.endswith("; a query sees the last 2")


def test_large_problems_are_cut_and_said_to_be() -> None:
    """A report fits on a screen."""
    text = report(2)
    assert "... 288 more queries" in text
    assert len(text.splitlines()) < 60


@pytest.mark.parametrize("index", range(4))
def test_every_problem_can_be_drawn(index: int) -> None:
    """Without a violation, as `attn-verify show` does."""
    console = Console(file=io.StringIO(), width=100)
    console.print(draw_problem(failures()[index].finding.problem))
    assert "wrong" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_pace_of_problems() -> None:
    """Without a time budget, what is left follows from how long each cell took; before all were reached nobody knows.
    The start of the process has no part in it.
    """
    pace = Pace(time.monotonic() - 20)
    corpus, slow, quick, broken = ((law, "float16", "cpu", "x") for law in ("corpus", "slow", "quick", "broken"))
    pace.begin(replace(STARTED, minutes=None, examples=100, workers=2, cells=(corpus, slow, quick, broken)))
    assert pace.line() == "[0:20] 0 problems, 0/s, 0 findings, starting"
    pace.ready(10.0)
    assert pace.line() == "[0:20] 0 problems, 0/s, 0 findings, 0 of 4 cells reached"
    pace.count(CellResult(*corpus, problems=60, seconds=10.0))
    pace.count(CellResult(*slow, problems=10, seconds=10.0))
    pace.count(CellResult(*broken, problems=5, seconds=0.5, failure="it broke"))
    pace.findings = 1
    assert pace.line() == "[0:20] 75 problems, 7/s, 1 finding, 3 of 4 cells reached"
    pace.count(CellResult(*quick, problems=25, seconds=0.5))
    assert pace.line() == "[0:20] 100 problems, 10/s, 1 finding, 0:46 left"  # (90 * 1 s + 75 * 0.02 s) on two workers
    assert pace.share() == pytest.approx(100 / 265)


def test_the_pace_of_a_budget_of_time() -> None:
    """It begins with the first problem. What is left of it is known from then on, and nothing else is guessed, however
    slow the first rounds are.
    """
    pace = Pace(time.monotonic() - 40)
    pace.begin(replace(STARTED, cells=cells()))
    assert pace.line() == "[0:40] 0 problems, 0/s, 0 findings, starting"
    assert pace.share() == 0
    pace.ready(30.0)
    assert pace.line() == "[0:40] 0 problems, 0/s, 0 findings, 1:50 left, 0 of 4 cells reached"
    for cell in cells():
        pace.count(CellResult(*cell, problems=1, seconds=5000.0))
    assert pace.line().endswith("0 findings, 1:50 left")
    assert pace.share() == pytest.approx(10 / 120, abs=0.01)
    late = Pace(time.monotonic() - 1000)
    late.begin(STARTED)
    late.ready(0.0)
    assert "0:00 left" in late.line()
