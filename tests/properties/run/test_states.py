"""The five states of a cell: a real session in which each arises, and each report of it says the same word."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import mkdtemp
from xml.etree import ElementTree

import pytest
import torch

from tests import warm
from tests.properties.run.test_session import ROOT, command, environment, words
from tests.verification.processes import until
from verification.records.results import State
from verification.reporting.lines import read_events
from verification.reporting.summary import Summary

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device, so all cells run")
# One that says nothing where a law asks for long contexts, which it makes of blocks of 256; and one that never answers.
ADAPTERS = """
import os, time
from dataclasses import replace
from verification.backends.attn_core import AttnCore

print("printed when imported")

class Small(AttnCore):
    name = "small"

    def prepare(self, problem):
        print("printed in a call")
        os.write(1, b"and past Python, ")
        return super().prepare(problem)

class Slow(AttnCore):
    name = "slow"

    def prepare(self, problem):
        time.sleep(600)

CONTRACT = replace(AttnCore().contract, phases=("decode",), undefined=frozenset({"block size: 256"}))
SMALL, SLOW = Small(contract=CONTRACT), Slow(contract=CONTRACT)
"""
AGREES, LONG = "agrees_with_reference", "long_contexts_average"
Cells = dict[tuple[str, str, str], str]
CELLS: Cells = {
    (AGREES, "cpu", "attn_core/eager"): State.HELD,
    (AGREES, "cpu", "mask-one-future"): State.BROKEN,
    (AGREES, "cpu", "small"): State.HELD,
    (LONG, "cpu", "small"): State.SAYS_NOTHING,
    (AGREES, "cpu", "slow"): State.NOT_REACHED,
    (LONG, "cpu", "slow"): State.NOT_REACHED,
    (AGREES, "cuda", "attn_core/eager"): State.NOT_RUN,
}
BACKENDS = ("attn_core/eager", "mask-one-future", "adapters:SMALL", "adapters:SLOW")
ONLY = (f"{AGREES}-float16-cpu", f"{LONG}-float16-cpu-s", f"{AGREES}-float16-cuda-attn_core")
WHY = {
    State.BROKEN: "1 of ",  # elements, of one or two
    State.SAYS_NOTHING: "the contract leaves this undefined: block size: 256",
    State.NOT_REACHED: "the run was interrupted first",
    State.NOT_RUN: "no CUDA device",
}
TALLY = "7 cells: 2 held, 1 broken, 1 says nothing, 2 not reached, 1 not run (no CUDA device)"
UNREACHED = f"{{{AGREES},{LONG}}}-float16-cpu-slow"


def asked(*backends: str) -> tuple[str, ...]:
    return tuple(part for name in backends for part in ("--backend", name))


def folder_with_adapters() -> Path:
    folder = Path(mkdtemp())
    (folder / "adapters.py").write_text(ADAPTERS)
    return folder


@contextmanager
def begun(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A session that is under way; whatever is left of it at the end is killed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # With this seed the planted fault breaks in its first ten problems.
    wanted = command(*arguments, "--minutes", "10", "--seed", "5", "--workers", "1", "--trusted")
    running = subprocess.Popen(wanted, cwd=folder, env=environment(), text=True, start_new_session=True, **pipes)  # type: ignore[call-overload]
    try:
        yield running
    finally:
        if running.poll() is None:  # else its number may be another's by now
            os.killpg(running.pid, signal.SIGKILL)
        running.communicate()


@cache
def run() -> tuple[str, str, Path]:
    """Standard output, the terminal, and the folder of reports of a session with all five. A person ends it when there
    is nothing left but to wait.
    """
    folder = folder_with_adapters()
    events = folder / "reports" / "run.jsonl"
    only = (part for text in ONLY for part in ("-k", text))
    with begun(folder, *asked(*BACKENDS), *only, "--json") as running:
        until(lambda: events.exists() and f'"round_ended", "law": "{LONG}"' in events.read_text())
        os.killpg(running.pid, signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 1, stderr
    return stdout, stderr, folder / "reports"


def state_in(text: str) -> str:
    """The word that a text begins with; where it has none the cell held."""
    return next((state for state in State if text.startswith(state)), State.HELD)


def test_in_the_terminal() -> None:
    """A table for each implementation that could run; below them what verified nothing, and the counts."""
    _, terminal, _ = run()
    found: Cells = {}
    where = ""
    for line in terminal.splitlines():
        if re.fullmatch(r" *cpu \S+ *", line):
            where = line.split()[1]
        elif row := re.fullmatch(r"│ (\w+) +│ (.*?) *│", line):
            found[row[1], "cpu", where] = state_in(row[2])
    laws = {cell: state for cell, state in found.items() if cell[0] != "all"}
    assert laws == {cell: state for cell, state in CELLS.items() if cell[1] == "cpu"}
    said = words(terminal)
    assert f"says nothing: {LONG}-float16-cpu-small: {WHY[State.SAYS_NOTHING]}" in said
    assert f"not reached, since {WHY[State.NOT_REACHED]}: {UNREACHED}" in said
    assert TALLY in said
    assert "1 law broken, interrupted; exit code 1" in said


def test_in_json_lines() -> None:
    """A line for each cell, and the counts in the last."""
    stdout, terminal, reports = run()
    assert all(line in terminal for line in ("printed when imported", "printed in a call", "and past Python"))
    assert (reports / "run.jsonl").read_text() == stdout
    lines = [json.loads(line) for line in stdout.splitlines()]
    cells = [line for line in lines if line["event"] == "cell_ended"]
    assert {(line["law"], line["device"], line["implementation"]): line["state"] for line in cells} == CELLS
    for line in cells:
        if line["state"] in (State.BROKEN, State.SAYS_NOTHING, State.NOT_RUN):
            assert line["why"].startswith(WHY[line["state"]])
    assert lines[-1]["states"] == {"held": 2, "broken": 1, "says nothing": 1, "not reached": 2, "not run": 1}
    assert [*lines[0]["cells"]] == [[law, "float16", device, name] for law, device, name in CELLS if device == "cpu"]


def test_in_junit() -> None:
    """A case each, whose word is a property and begins its message."""
    root = ElementTree.parse(run()[2] / "junit.xml").getroot()
    found: Cells = {}
    for case in root.iter("testcase"):
        name, device = case.attrib["classname"].rsplit(" on ", 1)
        law = case.attrib["name"].removesuffix("[float16]")
        told = {found.attrib["name"]: found.attrib["value"] for found in case.findall("properties/property")}
        state = told["state"]
        messages = [child.attrib["message"] for child in case if child.tag in ("skipped", "failure")]
        found[law, device, name] = state
        if state == State.HELD:
            assert not messages
        else:
            [message] = messages
            assert message.startswith(f"{state}: {WHY[State(state)]}")
            assert (case.find("failure") is not None) == (state == State.BROKEN)
    assert found == CELLS


def test_in_markdown() -> None:
    """Counts by implementation, and names of what verified nothing."""
    text = (run()[2] / "summary.md").read_text().replace("\\", "")
    assert text.startswith(f"## Attention laws: 1 broken: `{AGREES}`")
    rows = dict(re.findall(r"^\| (\S+ \S+) \| (.*) \|$", text, re.M))
    assert set(rows) == {"cpu attn_core/eager", "cpu mask-one-future", "cpu small", "cpu slow", "cuda attn_core/eager"}
    assert re.fullmatch(r"[\d,]+ problems, err/bound 0\.\d+", rows["cpu attn_core/eager"])
    assert rows["cpu mask-one-future"].startswith("**1 of 1 broken**")
    assert re.fullmatch(r"\d+ problems, err/bound 0\.\d+, 1 says nothing", rows["cpu small"])
    assert rows["cpu slow"] == "2 not reached"
    assert rows["cuda attn_core/eager"] == "not run: no CUDA device"
    assert f"- says nothing, {WHY[State.SAYS_NOTHING]}: {LONG}-float16-cpu-small\n" in text
    assert f"- not reached, {WHY[State.NOT_REACHED]}: {UNREACHED}\n" in text
    assert TALLY in text


class Tables(HTMLParser):
    """The cells of the page's tables of laws: heading of the table, row, class and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[list[str]] = []
        self.table = self.row = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("summary", "th", "td"):
            self.inside = tag
        if tag == "td":
            self.cells.append([self.table, self.row, dict(attrs).get("class") or "", ""])

    def handle_data(self, data: str) -> None:
        match self.inside:
            case "summary":
                self.table, self.inside = data, ""
            case "th":
                self.row, self.inside = data, ""
            case "td":
                self.cells[-1][3] += data


def test_in_the_page() -> None:
    """A place each in the tables of laws, with its class and its word; what was not run is in the table of devices."""
    text = (run()[2] / "index.html").read_text()
    found: Cells = {}
    for table, row, kind, shown in Tables(text).cells:
        law_table = re.fullmatch(r"cpu: (\S+), law by law", table)
        if law_table and row in (AGREES, LONG):
            found[row, "cpu", law_table[1]] = state_in(shown.strip())
            assert kind.replace("-", " ") == state_in(shown.strip())
        if row == "cuda: attn_core/eager":
            found[AGREES, "cuda", "attn_core/eager"] = state_in(shown.strip())
            assert kind == "not-run"
    assert found == CELLS
    assert f'<b class="other">not reached</b>, {WHY[State.NOT_REACHED]}: {UNREACHED}</li>' in text
    said = f"{WHY[State.SAYS_NOTHING]}: {LONG}-float16-cpu-small</li>"
    assert f'<b class="other">says nothing</b>, {said}' in text
    assert f"<p>{TALLY}.</p>" in text


def pytested(folder: Path, *more: str) -> tuple[subprocess.CompletedProcess[str], ElementTree.Element]:
    """The same cells as tests, but for the one that never answers."""
    chosen = "agrees_with_reference-float16 or (long_contexts_average-float16-cpu and small)"
    backends = (f"--attn-backend={name}" for name in BACKENDS[:3])
    asked_of = (*backends, "-k", f"({chosen}) and not (cuda and (small or mask))", "--attn-problems", "10")
    options = ("-p", "attn_verify_plugin", "-p", "no:cacheprovider", "-rA", "--junit-xml", "tests.xml")
    path = os.pathsep.join([str(ROOT), str(folder)])
    asked_for = ("--pyargs", "properties", *asked_of, *more)
    done = warm.run("pytest", *options, *asked_for, cwd=folder, env=environment(PYTHONPATH=path))
    return done, ElementTree.parse(folder / "tests.xml").getroot()


def cases(root: ElementTree.Element) -> Iterator[tuple[tuple[str, str, str], str, str, str]]:
    """Cell, state, outcome and message of each test."""
    for case in root.iter("testcase"):
        law, dtype, device, name = case.attrib["name"].removeprefix("test_law[").removesuffix("]").split("-", 3)
        assert dtype == "float16"
        told = {found.attrib["name"]: found.attrib["value"] for found in case.findall("properties/property")}
        state = told["state"]
        outcome = next((child for child in case if child.tag in ("skipped", "failure")), None)
        said = "" if outcome is None else outcome.attrib["message"]
        yield (law, device, name), state, "passed" if outcome is None else outcome.tag, said


def test_in_pytest() -> None:
    """Only what held passes; what broke fails; the others are skipped with word and reason."""
    done, root = pytested(folder_with_adapters())
    assert done.returncode == 1, done.stdout
    found = {cell: state for cell, state, _, _ in cases(root)}
    assert found == {cell: state for cell, state in CELLS.items() if cell[2] != "slow"}
    expected = {State.HELD: "passed", State.BROKEN: "failure"}
    for _, state, outcome, said in cases(root):
        assert outcome == expected.get(State(state), "skipped")
        if state != State.HELD:
            assert f"{state}: " in said
        if outcome == "skipped":
            assert said == f"{state}: {WHY[State(state)]}"
    assert "1 failed, 2 passed, 2 skipped" in done.stdout


@pytest.mark.slow
def test_a_device_that_is_required_in_pytest() -> None:
    """Its cell fails, by the same word."""
    done, root = pytested(folder_with_adapters(), "--attn-require-cuda")
    assert done.returncode == 1
    told = {state: (outcome, said) for _, state, outcome, said in cases(root)}
    assert told[State.NOT_RUN] == ("failure", "Failed: not run: no CUDA device")


def test_a_run_that_is_killed(tmp_path: Path) -> None:
    """Leaves reports that say so, and events of which another page can be made; the next run has the folder."""
    (tmp_path / "adapters.py").write_text(ADAPTERS)
    options = (*asked("adapters:SLOW"), "-k", f"{AGREES}-float16-cpu", "-k", f"{LONG}-float16-cpu")
    events, page = tmp_path / "reports" / "run.jsonl", tmp_path / "reports" / "index.html"
    with begun(tmp_path, *options) as running:
        until(lambda: page.exists() and "</html>" in page.read_text())
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert Summary(read_events(events)).states[State.NOT_REACHED] == 2
    made = tmp_path / "made.html"
    done = warm.run("properties.cli", "report", str(events), "--output", str(made), env=environment())
    assert done.returncode == 0, done.stderr
    assert "2 cells: 0 held, 0 broken, 0 say nothing, 2 not reached, 0 not run" in words(done.stdout)
    for text in (made.read_text(), page.read_text()):
        assert "<h1>Nothing was verified, not ended</h1>" in text
        assert f'<b class="other">not reached</b>, the run did not end: {UNREACHED}</li>' in text
    junit = ElementTree.parse(tmp_path / "reports" / "junit.xml").getroot()
    assert [each.attrib["message"] for each in junit.iter("skipped")] == ["not reached: the run did not end"] * 2
    assert [each.attrib["message"] for each in junit.iter("error")] == ["Nothing was verified, not ended"]
    assert (tmp_path / "reports" / "summary.md").read_text().startswith("## Attention laws: Nothing was verified")
