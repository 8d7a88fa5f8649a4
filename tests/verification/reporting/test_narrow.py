"""On 80 columns, and on 60, nothing that is said is cut: not by rich, which ends a text with dots, nor by the edge."""

from __future__ import annotations

import io
import time
from collections import defaultdict
from dataclasses import replace

import pytest
from rich.console import Console

from tests.verification.reporting.samples import STARTED, cell, events, failures
from verification.records.results import State
from verification.reporting.broken import render_failure, replay_command, script_command
from verification.reporting.events import RoundEnded, RunEnded, RunReady
from verification.reporting.tables import law_table, matrix_table
from verification.reporting.terminal import Terminal

WIDTHS = pytest.mark.parametrize("width", [60, 80])
LAWS = ("agrees_with_reference", "a_mask_that_hides_nothing_is_none", "cache_is_exact")
DTYPES = ("float16", "bfloat16", "float32", "float64")


def printed(shown: object, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(shown)
    return checked(console.file.getvalue(), width)  # type: ignore[attr-defined]


def checked(text: str, width: int) -> str:
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    return text


def joined(text: str) -> str:
    """What the columns of a table say, each read from top to bottom, without the breaks of its lines."""
    columns: dict[int, str] = defaultdict(str)
    for line in text.splitlines():
        for i, part in enumerate(line.replace("┃", "│").split("│")):
            columns[i] += "".join(part.split())
    return "\n".join(columns.values())


@WIDTHS
def test_tables_of_results(width: int) -> None:
    """Names of laws and of dtypes, and all numbers, in four dtypes; on 80 columns a law keeps its line."""
    results = [replace(cell(law, dtype), problems=123_456) for law in LAWS for dtype in DTYPES]
    results[0] = replace(results[0], failure="3 of 32 elements out of bound")
    results[5] = replace(results[5], outside=results[5].problems)
    for make in (law_table, matrix_table):
        text = printed(make(results, "cpu attn_core/eager", width), width)
        found = "".join(text.split())
        assert text.count("0.933") == found.count("0.933") == len(DTYPES) * (4 if make is law_table else 2)
        assert all(dtype in text for dtype in DTYPES)
        assert "broken" in text
        if width == 80 and make is law_table:
            assert all(law in text for law in LAWS)
            assert "says nothing" in text or "nothing" in text


@WIDTHS
def test_wide_tables_stay_on_one_line(width: int) -> None:
    """Where there is room, nothing changes."""
    results = [cell("law", "float16"), cell("other", "float16")]
    assert printed(law_table(results, "x", width), width) == printed(law_table(results, "x"), width)


@WIDTHS
@pytest.mark.parametrize("index", range(4))
def test_reports_of_findings(width: int, index: int) -> None:
    """The numbers of the worst element and the commands, whole."""
    failure = failures()[index]
    text = printed(render_failure(failure), width)
    found = "".join(text.replace("│", " ").split())
    commands = [replay_command(failure)] + [script_command(failure)] * bool(failure.kept)
    for command in commands:
        assert "".join(command.split()) in found
    if failure.difference:
        assert "0.75" in text
        assert "0.001" in text


@WIDTHS
def test_a_whole_run(width: int) -> None:
    """How it goes, on a screen and in a log, and its end."""
    heard = [events()[0], RunReady(8.0), *events()[1:]]
    for terminal in (False, True):
        stream = io.StringIO()
        console = Console(file=stream, width=width, force_terminal=terminal, color_system=None)
        reporter = Terminal(console, time.monotonic() - 10)
        for event in heard:
            reporter.receive(event)  # type: ignore[arg-type]
        text = stream.getvalue()
        assert "…" not in text
        for part in ("started in 8 s", "left", "reached", *DTYPES[:1], str(State.NOT_RUN)):
            assert part in " ".join(text.split()), part
        if not terminal:
            assert "".join(failures()[0].kept.split()) in joined(text) + "".join(text.split())


@WIDTHS
def test_what_was_not_reached_is_named_whole(width: int) -> None:
    """One long word, which is folded."""
    names = tuple((f"a_law_with_a_long_name_{i}", dtype, "cpu", "x") for i in range(6) for dtype in DTYPES)
    stream = io.StringIO()
    reporter = Terminal(Console(file=stream, width=width, color_system=None), time.monotonic())
    for event in (replace(STARTED, cells=names), RoundEnded(cell("x", "float16")), RunEnded(5.0, 3)):
        reporter.receive(event)
    found = "".join(checked(stream.getvalue(), width).split())
    assert "{" + ",".join(dict.fromkeys(law for law, *_ in names)) + "}-{" + ",".join(DTYPES) + "}-cpu-x" in found
