"""The session: what it writes, and that it fails where it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.power import faults, honest
from benchmarks.power.faults import Row, describe_totals, hunt_by_name, write_reports
from tests.properties.wrapped import HONEST, Wrapped
from verification.problem.json_io import from_json
from verification.reporting.lines import read_events
from verification.reporting.summary import Summary

KEYS = {"id", "killed", "law", "problems", "seconds", "minimal"}


def test_a_hunt_is_written_down(tmp_path: Path) -> None:
    """A list of faults with their minimal problems; controls stand in the run's own file."""
    rows = [hunt_by_name("mask-one-future", 1), hunt_by_name("log-one-sided", 1)]
    control = Row("honest", True, False, "", "", 10, 0.1, 0, None, "")
    write_reports(tmp_path, [*rows, control], {"seed": 1, "seconds": 2.0, "workers": 1})
    written = json.loads((tmp_path / "faults.json").read_text())
    assert [row["id"] for row in written] == ["mask-one-future", "log-one-sided"]
    for row in written:
        assert row.keys() >= KEYS
        assert row["killed"] is True
        assert from_json(json.dumps(row["minimal"])).num_tokens == row["tokens"] <= 4
    run = json.loads((tmp_path / "faults-run.json").read_text())
    assert (run["seed"], len(run["rows"])) == (1, 3)
    summary = Summary(read_events(tmp_path / "faults.jsonl"))
    assert [(fault.id, bool(fault.law)) for fault in summary.faults] == [(row.id, True) for row in rows]
    page = (tmp_path / "faults.md").read_text()
    assert "2 of 2 faults killed" in describe_totals(rows)
    assert "| mask-one-future | The diagonal lies one key too far" in page


@pytest.mark.parametrize(("is_honest", "killed"), [(False, True), (True, False)])
def test_a_survivor_and_a_false_alarm_are_failures(is_honest: bool, killed: bool) -> None:
    """One is not as it should be, nor is the other."""
    rows = [Row("x", is_honest, k, "", "", 1, 0.0, 0, None, "") for k in (killed, not killed)]
    assert [row.as_it_should_be for row in rows] == [True, False]


def test_a_control_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its law, with the problem."""
    liar = Wrapped(after=lambda _, output: output * 2, name="liar")
    monkeypatch.setattr(faults, "list_honest_on_cpu", lambda: {"liar": liar})
    row = hunt_by_name("liar", 1)
    assert (row.honest, row.killed, row.as_it_should_be) == (True, True, False)
    assert row.words


def test_every_honest_implementation_is_a_control() -> None:
    """The layer, the split decode that faults are planted in, and torch's own kernels."""
    ours = {HONEST.name, "attn_core/split decode", *(f"attn_core/{name}" for name in ("sdpa", "flex", "auto"))}
    ours |= {"attn_core/auto+compile"}
    assert ours | {"sdpa/flash", "sdpa/math", "flex/eager"} == set(honest.list_honest_on_cpu())
