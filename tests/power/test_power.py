"""Rules and generators side by side: small runs of each part."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from properties.profile import try_each
from tests.power.judges import false_alarms, ours, trial
from tests.power.rivals import GENERATORS, GRID, GRID_HEADS, element_by_element, grid, mostly_zeros
from tests.power.sharpness import ERRORS, PROFILES, sight
from tests.power.soundness import main as soundness
from tests.properties.wrapped import HONEST
from verification.faults import FAULTS
from verification.problem import Problem
from verification.rules import RULES
from verification.valid import check_problem

BOUND, TWICE, PERCENT, CLOSE = RULES


def test_rival_problems_are_valid() -> None:
    """Whatever one thinks of them."""
    drawn: list[Problem] = []
    try_each(element_by_element(), drawn.append, 1, 60)
    problems = [*grid(), *islice(mostly_zeros(1), 60), *drawn]
    for problem in problems:
        check_problem(problem)
    assert len(list(grid())) == 3 * len(GRID) * len(GRID_HEADS)
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
        fault: trial(FAULTS[fault].backend(), HONEST, ours(HONEST, 1, 200)).found
        for fault in ("mask-strict", "store-before-check", "nan-hidden")
    }
    assert set(found["mask-strict"]) == set(RULES)
    assert found["store-before-check"] == {}
    assert set(found["nan-hidden"]) == {BOUND}


def test_alarms_are_counted() -> None:
    """None of ours on an honest layer."""
    alarms = false_alarms(HONEST, "float32", 1, 100)
    assert (alarms["problems"], alarms[BOUND]) == (100, 0)


@pytest.mark.parametrize("profile", PROFILES)
def test_ours_is_the_sharpest_rule_without_false_alarms(profile: str) -> None:
    """For an error of the scale in float16; larger errors are seen no less often."""
    seen = sight(profile, "float16", "scale", 0, 4)
    assert seen.alarms[BOUND] == seen.alarms[TWICE] == seen.alarms[PERCENT] == 0
    least = {name: seen.smallest[name] for name in (BOUND, TWICE, PERCENT)}
    assert least[BOUND] < least[TWICE] < least[PERCENT]  # type: ignore[operator]
    share = [s for e, s in zip(ERRORS, seen.share[BOUND], strict=True) if e >= 1e-2]
    assert min(share) == 1.0


def test_the_page_is_made_from_the_reports(tmp_path: Path) -> None:
    """Every part of it, from a run of one fault."""
    run = [sys.executable, "-m"]
    common = ["--reports", str(tmp_path), "--seed", "1", "--workers", "1"]
    subprocess.run([*run, "tests.power.faults", *common, "--fault", "mask-strict"], check=True, capture_output=True)
    soundness([*common, "--examples", "20", "--device", "cpu", "--dtype", "float32"])
    small = ["--problems", "20", "--seconds", "1", "--curve", "1", "--fault", "mask-strict"]
    subprocess.run([*run, "tests.power.power", *common, *small], check=True, capture_output=True)
    files = [str(tmp_path / name) for name in ("faults-run.json", "soundness-cpu.json", "power.json")]
    made = [*run, "tests.power.page", "--faults", files[0], "--soundness", files[1], "--power", files[2]]
    page = subprocess.run(made, check=True, capture_output=True, text=True).stdout
    for part in ("Planted faults", "False alarms", "Generators", "Rules", "Sharpness"):
        assert f"\n## {part}\n" in page
    assert "| `mask-strict` | A query cannot see its own key." in page
    assert (tmp_path / "sharpness.svg").exists()
    assert json.loads((tmp_path / "power.json").read_text())["seed"] == 1
