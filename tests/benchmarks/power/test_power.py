"""Rules and generators side by side: small runs of each part."""

from __future__ import annotations

from argparse import Namespace
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.power import faults, page, power
from benchmarks.power.judges import count_false_alarms, draw_ours, try_rules
from benchmarks.power.rivals import GENERATORS, GRID, GRID_HEADS, draw_mostly_zeros, element_by_element, list_grid
from benchmarks.power.rules import RULES
from benchmarks.power.sharpness import ERRORS, PROFILES, measure_sight
from benchmarks.power.soundness import main as soundness
from properties.generate.profile import try_each
from tests.properties.wrapped import HONEST
from verification.faults import FAULTS
from verification.problem import Problem
from verification.problem.validate import check_problem

pytestmark = pytest.mark.slow

BOUND, TWICE, PERCENT, CLOSE = RULES


def test_rival_problems_are_valid() -> None:
    """Whatever one thinks of them."""
    drawn: list[Problem] = []
    try_each(element_by_element(), drawn.append, 1, 60)
    problems = [*list_grid(), *islice(draw_mostly_zeros(1), 60), *drawn]
    for problem in problems:
        check_problem(problem)
    assert len(list(list_grid())) == 3 * len(GRID) * len(GRID_HEADS)
    assert any(problem.numbers for problem in drawn)
    assert {problem.phase for problem in drawn} == {"prefill", "decode"}


@pytest.mark.parametrize("generator", GENERATORS)
def test_every_generator_finds_a_gross_fault(generator: str) -> None:
    """And says after how many checks."""
    found = GENERATORS[generator](FAULTS["mask-one-future"].backend(), 1, 20.0)
    assert found.kill is not None
    assert found.problems > 0


@pytest.mark.parametrize("generator", [name for name in GENERATORS if name != "ours"])
def test_a_survivor_costs_the_budget(generator: str) -> None:
    """And no more."""
    found = GENERATORS[generator](HONEST, 1, 0.1)
    assert found.kill is None
    assert found.seconds < 20


def test_the_rules_see_what_they_can() -> None:
    """All of them a wrong mask; none of them a spoiled cache; only the bound a NaN that was hidden."""
    found = {
        fault: try_rules(FAULTS[fault].backend(), HONEST, draw_ours(HONEST, 1, 200)).found
        for fault in ("mask-strict", "store-before-check", "nan-hidden")
    }
    assert set(found["mask-strict"]) == set(RULES)
    assert found["store-before-check"] == {}
    assert set(found["nan-hidden"]) == {BOUND}


def test_alarms_are_counted() -> None:
    """None of ours on an honest layer."""
    alarms = count_false_alarms(HONEST, "float32", 1, 100)
    assert (alarms["problems"], alarms[BOUND]) == (100, 0)


@pytest.mark.parametrize("profile", PROFILES)
def test_ours_is_the_sharpest_rule_without_false_alarms(profile: str) -> None:
    """For an error of the scale in float16; larger errors are seen no less often."""
    seen = measure_sight(profile, "float16", "scale", 0, 4)
    assert seen.alarms[BOUND] == seen.alarms[TWICE] == seen.alarms[PERCENT] == 0
    least = {name: seen.smallest[name] for name in (BOUND, TWICE, PERCENT)}
    assert least[BOUND] < least[TWICE] < least[PERCENT]  # type: ignore[operator]
    share = [s for e, s in zip(ERRORS, seen.share[BOUND], strict=True) if e >= 1e-2]
    assert min(share) == 1.0


def test_a_generator_may_find_nothing() -> None:
    """A short run has such; its median is a dash."""
    laws = {"ours": "agrees_with_reference"}
    results = [
        {"fault": "mask-strict", "generator": name, "law": laws.get(name, ""), "problems": 7, "seconds": 0.5}
        for name in GENERATORS
    ]
    ours, *others = page.collect_generators(results)["generators"]
    assert ours == ("ours", "1 of 1", "7", "0", 0)
    assert {row[1:3] for row in others} == {("0 of 1", "-")}


def test_the_page_is_made_from_the_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every part of it, from a run of one fault under one control."""
    monkeypatch.setattr(power, "list_honest_on_cpu", lambda: {HONEST.name: HONEST})
    options = Namespace(fault=["mask-strict"], seed=1, seconds=0.5, problems=20, curve=1)
    results = {part: [job() for job in todo] for part, todo in power.list_jobs(options).items()}
    power.write_reports(tmp_path, results, seed=1)
    faults.write_reports(tmp_path, [faults.hunt_by_name("mask-strict", 1)], {"seed": 1, "seconds": 2.0, "workers": 1})
    soundness(["--reports", str(tmp_path), "--seed", "1", "--examples", "20", "--device", "cpu", "--dtype", "float32"])
    capsys.readouterr()
    files = {"--faults": "faults-run.json", "--soundness": "soundness-cpu.json", "--power": "power.json"}
    page.main([part for option, name in files.items() for part in (option, str(tmp_path / name))])
    text = capsys.readouterr().out
    for part in ("Planted faults", "False alarms", "Generators", "Rules", "Sharpness"):
        assert f"\n## {part}\n" in text
    assert "| `mask-strict` | A query cannot see its own key." in text
    assert (tmp_path / "sharpness.svg").exists()
