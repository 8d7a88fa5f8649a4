"""The pages say what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from properties.laws import LAWS
from tests.quality import reference
from tests.quality.reports import report_of_run
from verification.faults import FAULTS
from verification.records.entries import entries
from verification.records.findings import LEDGER

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NUMBERS = (
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty", "twenty-one", "twenty-two", "twenty-three", "twenty-four"),
)


def code_of(text: str, language: str = "python") -> str:
    """Return the first block in that language."""
    return text.split(f"```{language}\n")[1].split("```")[0]


def test_the_readme_is_short() -> None:
    """One reads it in a few minutes, and the first command is on the first screen."""
    lines = README.splitlines()
    assert len(lines) <= 120
    assert any("nox -s fuzz" in line for line in lines[:12])


def test_the_first_command_has_a_budget_of_time() -> None:
    """So that it takes no longer than it says on a slow machine: three of the five minutes are for the installation."""
    [command] = re.findall(r"nox -s fuzz .*", code_of(README, "sh"))
    [minutes] = re.findall(r"-- --minutes (\d+) ", command)
    [promised] = re.findall(r"under (\d+) minutes", command)
    assert int(minutes) + 3 <= int(promised)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Those into the repository."""
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text())
    for link in (link for link in links if "://" not in link):
        assert (page.parent / link).exists(), link


def test_counts_in_prose_are_those_of_the_code() -> None:
    """Laws, planted bugs, findings."""
    assert re.findall(r"\*\*(\d+) laws\*\*", README) == [str(len(LAWS))]
    assert re.findall(r"plants (\d+) bugs", README) == [str(len(FAULTS))]
    # Younger faults are hunted by `nox -s faults`, and are in the comparison when it is next measured.
    measured = re.findall(r"Here (\d+) bugs", (ROOT / "docs/power.md").read_text())
    assert len(measured) == 1
    assert set(re.findall(r"(?:killed, of|the first) (\d+)", README)) == {*measured}
    known = {entry.number for entry in entries(LEDGER)}
    assert re.findall(r"among ([\w-]+) \(\[docs/findings", README) == [NUMBERS[len(known) - 10]]
    assert re.findall(r"^## (\d+)\.", (ROOT / "docs/findings.md").read_text(), re.M) == sorted(known, key=int)


def test_the_kernel_of_the_readme_is_the_one_of_the_tutorial() -> None:
    """But for comments."""
    tutorial = (ROOT / "docs/tutorial/my_kernel.py").read_text()
    assert ast.dump(ast.parse(code_of(README))) == ast.dump(ast.parse(tutorial))
    assert f"in {len(code_of(README).strip().splitlines())} lines" in README


def test_the_failure_of_the_readme_is_what_a_run_prints() -> None:
    """Line by line, with lines left out."""
    printed = iter(report_of_run("mask-one-future").splitlines())
    shown = code_of(README, "text").strip().splitlines()
    assert len(shown) == 12
    for line in shown:
        assert any(other.startswith(line) for other in printed), line


def test_the_example_of_attn_core_runs() -> None:
    """As it stands on its page."""
    names: dict[str, object] = {}
    exec(compile(code_of((ROOT / "docs/attn_core.md").read_text()), "attn_core.md", "exec"), names)
    assert names["out"].shape == (2, 64)  # type: ignore[attr-defined]


def test_the_reference_is_made_from_the_code() -> None:
    """``python -m tests.quality.reference`` makes it."""
    assert reference.made() == reference.PAGE.read_text()
