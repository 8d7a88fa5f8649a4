"""The ledger: every entry of docs/findings.md has a script, which says here what the page says; and its command."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from properties.cli import app
from properties.run.ledger import Row, State, reviewed
from verification.problem import Problem
from verification.problem.json_io import to_json
from verification.problem.reading import ProblemError
from verification.records import findings
from verification.records.entries import Entry, entries, load
from verification.records.findings import Finding

ROOT = Path(__file__).parents[3]
ENTRIES = entries(findings.LEDGER)
PAGE = (ROOT / "docs" / "findings.md").read_text()
HERE = version("numpy")
# An honest backend holds on it, a planted fault breaks on it.
PROBLEM = Problem("prefill", "float16", 1, 1, 1, (1,), (2,))
FIXED = "print('got 1, owed 1')"
THERE = "print('got 2, owed 1')\nraise SystemExit(1)"
NEEDS = "print('needs a moon')\nraise SystemExit(2)"


def anchors() -> dict[str, str]:
    """Of the page's sections, as GitHub makes them, by number."""
    titles = re.findall(r"^## (\d+)\. (.*)$", PAGE, re.MULTILINE)
    return {
        number: f"{number}-{re.sub(r'[^a-z0-9 ]', '', title.lower()).replace(' ', '-')}" for number, title in titles
    }


def test_the_page_and_the_ledger_are_in_step() -> None:
    """A file and a script each, no more; every section and row of the table has one, and links to it."""
    folder = findings.LEDGER
    assert {path.stem for path in folder.glob("*.py")} == {entry.name for entry in ENTRIES}
    assert {entry.page for entry in ENTRIES} == {f"docs/findings.md#{anchor}" for anchor in anchors().values()}
    assert sorted(re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE), key=int) == list(anchors())
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    for entry in ENTRIES:
        assert entry.page == f"docs/findings.md#{anchors()[entry.number]}"
        [section] = [text for text in sections if text.startswith(f"{entry.number}.")]
        assert f"(../verification/records/ledger/{entry.script.name})" in section
    assert sorted(re.findall(r"\.\./verification/records/ledger/(.*?)\.py", PAGE)) == sorted(
        entry.name for entry in ENTRIES
    )


def test_the_page_says_of_each_what_the_ledger_says() -> None:
    """Which rows stand under which heading, and the versions."""
    promises, unwise = PAGE.split("| **merely unwise** |")
    for entry in ENTRIES:
        assert f"\n| {entry.number} |" in (promises if entry.kind == "broken promise" else unwise)
        assert f"{entry.package} {entry.seen}" in PAGE


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_it_is_still_there(entry: Entry) -> None:
    """Where this fails with *fixed*, upstream has mended it: see CONTRIBUTING.md."""
    [row] = reviewed([entry], 120)
    if row.state in (State.NOT_INSTALLED, State.NOT_RUN):
        pytest.skip(f"{row.state}: {row.why}")
    assert row.state is State.STILL_THERE, row.why
    assert entry.finding is None or bool(entry.finding.law) == bool(row.broken)


def kept(folder: Path, script: str, *, law: str = "", backend: str = "", problem: bool = False, **of: object) -> Entry:
    """A made-up entry about numpy, which is here; its script."""
    about = {"page": "none", "package": "numpy", "seen": "0.1", "kind": "unwise"} | of
    data: dict[str, object] = {"entry": about}
    if problem:
        data |= {"law": law, "backend": backend, "device": "cpu", "problem": json.loads(to_json(PROBLEM))}
    path = folder / f"{len(list(folder.iterdir())):02}-made-up.json"
    path.write_text(json.dumps(data))
    path.with_suffix(".py").write_text(script)
    return load(path)


def row_of(entry: Entry, seconds: float = 60) -> Row:
    [row] = reviewed([entry], seconds)
    return row


def asked(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["ledger", str(folder), *options], env={"COLUMNS": "160"})


def test_states(tmp_path: Path) -> None:
    """What is not installed is no failure, and is not hidden."""
    made = [kept(tmp_path, FIXED), kept(tmp_path, THERE), kept(tmp_path, NEEDS)]
    made += [kept(tmp_path, THERE, package="no-such-package"), kept(tmp_path, THERE, needs=["no-such-package"])]
    result = asked(tmp_path)
    assert result.exit_code == 0, result.output
    for said in (f"FIXED in {HERE}", "still there", "needs a moon", "1 fixed; 2 not installed; 1 not run"):
        assert said in result.output
    rows = json.loads(asked(tmp_path, "--json").stdout)
    assert [row["name"] for row in rows] == [entry.name for entry in made]
    assert [row["state"] for row in rows] == ["fixed", "still there", "not run", "not installed", "not installed"]
    assert [row["here"] for row in rows] == [HERE, HERE, HERE, "", HERE]
    assert all(row["why"] == "no-such-package is not installed" for row in rows[3:])


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("import no_such_module", "exit code 1: ModuleNotFoundError"),  # 1, but it shows no defect
        ("raise SystemExit(2)", "exit code 2: it said nothing"),
        ("print('got 1, owed 1')\nraise SystemExit(7)", "exit code 7: got 1, owed 1"),
        ("import time\ntime.sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_a_script_that_no_longer_runs_judges_nothing(script: str, why: str, tmp_path: Path) -> None:
    """An exception ends with the exit code of a defect."""
    entry = kept(tmp_path, script)
    row = row_of(entry, 0.5 if "sleep" in script else 60)
    assert row.state is State.UNJUDGED
    assert row.why.startswith(why)


def test_exit_codes(tmp_path: Path) -> None:
    """3 where one cannot be judged, and where none was asked; a folder without entries is misspelt."""
    kept(tmp_path, THERE, package="no-such-package")
    assert asked(tmp_path).exit_code == 3
    kept(tmp_path, THERE)
    assert asked(tmp_path).exit_code == 0
    kept(tmp_path, "")
    assert asked(tmp_path).exit_code == 3
    (tmp_path / "none").mkdir()
    assert asked(tmp_path / "none").exit_code == 2


@pytest.mark.parametrize(
    ("script", "backend", "law", "state"),
    [
        (THERE, "mask-one-future", "agrees_with_reference", State.STILL_THERE),
        (FIXED, "attn_core/eager", "agrees_with_reference", State.FIXED),
        (FIXED, "mask-one-future", "agrees_with_reference", State.UNJUDGED),
        (THERE, "attn_core/eager", "agrees_with_reference", State.UNJUDGED),
        (THERE, "attn_core/eager", "", State.STILL_THERE),  # our judge is silent, and known to be
        (THERE, "no_such_module:Backend", "", State.UNJUDGED),
    ],
)
def test_script_and_problem_must_agree(script: str, backend: str, law: str, state: State, tmp_path: Path) -> None:
    """Else who knows which of them is wrong."""
    row = row_of(kept(tmp_path, script, law=law, backend=backend, problem=True))
    assert row.state is state
    assert bool(row.broken) == (backend == "mask-one-future")


@pytest.mark.parametrize(("seen", "state"), [(HERE, State.UNJUDGED), ("999", State.UNJUDGED), ("0.1", State.FIXED)])
def test_only_a_newer_version_mends(seen: str, state: State, tmp_path: Path) -> None:
    """The same one on another machine may take another path, an older one may not have had it yet."""
    assert row_of(kept(tmp_path, FIXED, seen=seen)).state is state


def test_an_entry_is_a_finding(tmp_path: Path) -> None:
    """Its file can be replayed, shown and scripted like any other, if it has a problem."""
    entry = kept(tmp_path, THERE, law="agrees_with_reference", backend="mask-one-future", problem=True)
    assert entry.finding == Finding(PROBLEM, "agrees_with_reference", "mask-one-future", "cpu")
    path = str(entry.script.with_suffix(".json"))
    assert CliRunner().invoke(app, ["replay", path]).exit_code == 1
    bare = kept(tmp_path, THERE)
    result = CliRunner().invoke(app, ["replay", str(bare.script.with_suffix(".json"))])
    assert result.exit_code == 2
    assert "a script alone" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "entry: must be an object"),
        ("{}", "entry: must be an object"),
        ('{"entry": {"package": "x"}}', "entry.'page', 'seen', and 'kind': missing field"),
        ('{"entry": {"kind": "odd"}}', "entry.kind: 'odd' (must be one of 'broken promise', 'unwise')"),
        ('{"entry": {"script": "x"}}', "entry.'script': unknown field"),
    ],
)
def test_what_is_no_entry_is_refused_in_a_line(text: str, message: str, tmp_path: Path) -> None:
    """With its file and field."""
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ProblemError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {message}")
