"""The pace of the laws, and the price of isolation, are measured on what a run does."""

from __future__ import annotations

import pytest

from benchmarks.speed import harness
from benchmarks.speed.laws import Pace, measure_isolation, measure_laws
from properties.laws import LAWS
from tests.properties.wrapped import HONEST


def test_every_law_is_asked() -> None:
    """For its time, and none breaks."""
    pace = measure_laws("float32", "cpu", 0, seconds=0.0)
    assert pace.problems == sum(law.asks(HONEST, "float32") for law in LAWS)
    assert (pace.broken, pace.per_second > 0) == ((), True)


@pytest.mark.slow
def test_a_process_of_its_own_takes_longer() -> None:
    here, there = measure_isolation("cpu", 0, calls=12)
    assert 0 < here < there


def test_the_figures_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each dtype, and of isolation once."""
    monkeypatch.setattr(harness, "measure", lambda *_: dict.fromkeys(harness.STEPS, 0.001))
    monkeypatch.setattr(harness, "measure_laws", lambda *_: Pace(1200, 34, 4.0, ("cache_is_exact",)))
    monkeypatch.setattr(harness, "measure_isolation", lambda *_: (0.001, 0.0013))
    harness.main(["--dtype", "float16", "float32"])
    shown = capsys.readouterr().out
    said = "300 problems/s; 1,200 problems, 34 of them outside their law; broken: cache_is_exact"
    assert f"all laws, float16: {said}\nall laws, float32: {said}" in shown
    assert "1.00 ms in this process, 0.30 ms more in a process of its own" in shown
