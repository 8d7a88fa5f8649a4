"""What is on the screen: while it goes on, when a law breaks, and at the end."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from tests.verification.reporting.samples import STARTED, events, failures, hostile, passed
from tests.verification.samples import DECODE, PREFILL
from verification.problem import Problem
from verification.problem.scoring import Scoring
from verification.reporting.broken import render_failure
from verification.reporting.draw import draw_problem
from verification.reporting.events import LawBroken, RoundEnded, RunEnded
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
    text = told(STARTED, *(event for event in events() if isinstance(event, RoundEnded)), terminal=terminal)
    assert "seed 7; 8 cells, 2 minutes, 2 workers; python 3.12.4" in text
    if not terminal:
        assert "[0:10] 500 problems, 50/s, 0 findings, 1:50 left" in text
        assert "\x1b" not in text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_end_of_a_run(terminal: bool) -> None:
    """Tables, the clearest failure of an implementation in full, the others in a line each, totals."""
    text = told(*events(), terminal=terminal)
    assert "cpu attn_core/eager" in text
    assert text.count("The smallest problem found") == 2
    assert "broken as well" in text
    assert "NOT KEPT in disk full" in text
    assert "cuda: 6 cells NOT RUN (no CUDA device)" in text
    assert "not run" not in told(*passed_events())
    assert "no violation" in told(*passed_events())


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
    """No division by what there is none of."""
    assert "0 problems" in told(STARTED, RunEnded(0.0, 3))


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
        "Breaks as well with any other seed, values.",
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
    """Without a time budget, what is left follows from what is done."""
    pace = Pace(time.monotonic() - 10)
    pace.begin(replace(STARTED, minutes=None, examples=100, cells=10))
    assert pace.line() == "[0:10] 0 problems, 0/s, 0 findings, starting"
    pace.problems, pace.findings = 250, 1
    assert pace.line() == "[0:10] 250 problems, 25/s, 1 finding, 0:30 left"
    assert pace.share() == 0.25
