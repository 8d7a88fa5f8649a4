"""Every event survives its line of JSON, and a hostile line is refused in one line that names the field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.verification.reporting.samples import STARTED, cells, events
from verification.problem.reading import ProblemError
from verification.records.results import CellResult, State
from verification.reporting.events import RoundEnded, RunStarted
from verification.reporting.lines import from_line, read_events, to_line
from verification.reporting.summary import Summary

LINES = [to_line(event) for event in events()]
KINDS = (
    "run_started",
    "run_ready",
    "round_ended",
    "law_broken",
    "fault_hunted",
    "worker_lost",
    "cell_ended",
    "run_ended",
)


def test_there_and_back() -> None:
    """Equal events; the numbers of a coverage are compared as text."""
    for event, line in zip(events(), LINES, strict=True):
        assert to_line(from_line(line)) == line
        assert "\n" not in line
        if not line.startswith('{"event": "run_ended"'):
            assert from_line(line) == event


def test_lines_are_json_that_others_can_read() -> None:
    """JSON knows neither NaN nor Inf."""
    for line in LINES:
        json.loads(line, parse_constant=lambda name: pytest.fail(name))
    assert {json.loads(line)["event"] for line in LINES} == set(KINDS)


def written(folder: Path, *lines: str) -> Path:
    path = folder / "run.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_is_a_run(tmp_path: Path) -> None:
    """And sums up as the run did."""
    summary = Summary(read_events(written(tmp_path, *LINES)))
    assert summary.totals() == Summary(events()).totals()
    assert len(summary.failures) == len(Summary(events()).failures)


def first(kind: str) -> dict[str, object]:
    """One event of the kind, as data."""
    data: dict[str, object] = json.loads(next(line for line in LINES if json.loads(line)["event"] == kind))
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_checked(kind: str, tmp_path: Path) -> None:
    """A wrong type is refused by the name of its field, whichever it is; so is a field that does not exist."""
    for name in first(kind):
        with pytest.raises(ProblemError, match=rf"^{name}\b") as caught:
            from_line(json.dumps(first(kind) | {name: [["x"]]}))
        assert "\n" not in str(caught.value)
    with pytest.raises(ProblemError, match="'surprise': unknown field"):
        from_line(json.dumps(first(kind) | {"surprise": 1}))
    path = written(tmp_path, LINES[0], json.dumps(first(kind) | {"surprise": 1}))
    with pytest.raises(ProblemError, match=r"run\.jsonl: line 2: 'surprise'"):
        read_events(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([LINES[0], LINES[1][: len(LINES[1]) // 2]], r"line 2: event: not JSON"),
        ([LINES[1]], r"line 1: must be run_started, version 1 to 3"),
        (['{"event": "run_started", "version": 4, "started": "", "seed": 1}'], r"line 1: version: 4 \(must be"),
        (['{"event": "run_started", "started": "", "seed": 1}'], r"line 1: version: None \(must be"),
        (["[" * 100_000], "line 1: event: not JSON"),
        (['{"event": ["run_started"]}'], "event: must be an object whose event is one of"),
        (['{"event": "run_started", "event": "x"}'], "'event': given twice"),
        (["null"], "event: must be an object"),
        ([""], "line 1: event: not JSON"),
    ],
)
def test_hostile_files(tmp_path: Path, lines: list[str], message: str) -> None:
    """One line: file, line, field."""
    with pytest.raises(ProblemError, match=message) as caught:
        read_events(written(tmp_path, *lines))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


VERSION_1 = (
    (
        '{"event": "run_started", "started": "2026-03-01T12:00:00+00:00", "seed": 5, "command": "", "minutes": null, '
        '"examples": 3, "workers": 2, "cells": 2, "machine": {"torch": "2.9.0"}, "version": 1}'
    ),
    (
        '{"event": "round_ended", "law": "cache_is_exact", "dtype": "float16", "device": "cpu", "implementation": "x", '
        '"problems": 3, "outside": 1, "score": 0.25, "seconds": 0.5}'
    ),
    (
        '{"event": "round_ended", "law": "says_nothing", "dtype": "float16", "device": "cpu", "implementation": "x", '
        '"problems": 3, "outside": 3}'
    ),
    '{"event": "run_ended", "seconds": 1.0, "exit_code": 0, "interrupted": false, "coverage": null}',
)


def test_files_of_version_1_are_read(tmp_path: Path) -> None:
    """A ratio was called a score. Cells were counted and not named, so those that were not reached are not known."""
    events_read = read_events(written(tmp_path, *VERSION_1))
    started = events_read[0]
    assert isinstance(started, RunStarted)
    assert (started.version, started.cells, started.seed) == (3, (), 5)
    held, silent = Summary(events_read).results
    assert (held.ratio, held.verified, held.state) == (0.25, 2, "held")
    assert (silent.state, silent.why) == ("says nothing", "every problem was outside the law")
    again = written(tmp_path, *map(to_line, events_read))
    assert read_events(again) == events_read
    with pytest.raises(ProblemError, match="line 2: 'score': unknown field"):
        read_events(written(tmp_path, LINES[0], VERSION_1[1]))


def test_a_cell_ends_in_a_state() -> None:
    """One of five words."""
    line = first("cell_ended")
    assert line["state"] in list(State)
    with pytest.raises(ProblemError, match=r"state: 'passed' \(must be one of 'held', 'broken', 'says nothing',"):
        from_line(json.dumps(line | {"state": "passed"}))


def test_what_a_run_named_and_never_told_of_was_not_reached() -> None:
    """However its file ends, and though another run, elsewhere, could not have run it."""
    started = replace(STARTED, cells=cells())
    assert {result.state for result in Summary([started]).results} == {State.NOT_REACHED}
    missing = RoundEnded(CellResult(*cells()[0], skipped="no CUDA device"))
    elsewhere = [replace(STARTED, cells=()), missing]
    for told in ([*elsewhere, started], [started, *elsewhere]):
        assert Summary(told).states[State.NOT_REACHED] == 4
    reached = RoundEnded(CellResult(*cells()[0], problems=2))
    for told in ([*elsewhere, started, reached], [started, reached, *elsewhere]):
        assert Summary(told).result(cells()[0]).state is State.HELD
        assert Summary(told).states[State.NOT_REACHED] == 3


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="No such file"):
        read_events(tmp_path / "none.jsonl")


def test_two_runs_are_one_summary() -> None:
    """Cells of one name add up; seeds and seconds of both are kept."""
    other = [replace(event, seed=8) if isinstance(event, RunStarted) else event for event in events()]
    one, both = Summary(events()), Summary([*events(), *other])
    assert both.problems == 2 * one.problems
    assert len(both.results) == len(one.results)
    assert both.seconds == 2 * one.seconds
    assert "seed 7, 8;" in both.totals()
    assert both.coverage is not None
    assert one.coverage is not None
    assert both.coverage.problems == 2 * one.coverage.problems
    assert len(both.coverage.untried()) == len(one.coverage.untried())
