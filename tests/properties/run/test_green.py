"""No green cell that verified nothing: a kernel that promises little is asked by all laws, on very few problems."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from tests.properties.run.test_session import ROOT, session, words
from verification.records.results import CellResult, State
from verification.reporting.lines import read_events
from verification.reporting.summary import Summary

TUTORIAL = ROOT / "docs" / "tutorial"
# What the reports of before showed as passed, on whatever number of problems: here they have no cell.
RULED_OUT = {"visible_nan_appears", "logs_what_is_owed", "values_scale_exactly"}


def mended(folder: Path) -> str:
    """The kernel of the tutorial with the line of its page in the place of the wrong one."""
    page = (ROOT / "docs" / "tutorial.md").read_text()
    [line] = re.findall(r"^ +scores = scores\.masked_fill.*$", page, re.M)
    text = (TUTORIAL / "my_kernel.py").read_text()
    (folder / "mended.py").write_text(re.sub(r"^ +scores \+= .*$", line, text, flags=re.M))
    return "mended:MyKernel"


def test_whatever_is_green_verified_something(tmp_path: Path) -> None:
    """In the run's own count, in JUnit, in the tables, and in the sentence at the end."""
    backends = ("--backend", mended(tmp_path), "--backend", "sdpa/flash")
    options = ("--device", "cpu", "--dtype", "float16", "--dtype", "float32", "--examples", "2", "--seed", "3")
    done = session(tmp_path, *options, *backends)
    assert done.returncode == 0, done.stdout + done.stderr
    results = Summary(read_events(tmp_path / "reports" / "run.jsonl")).results
    assert not RULED_OUT & {result.law for result in results}
    held = [result for result in results if result.state is State.HELD]
    silent = [result for result in results if result.state is State.SAYS_NOTHING]
    assert len(held) + len(silent) == len(results)
    assert all(result.verified > 0 for result in held)
    assert all(result.verified == 0 and result.why for result in silent)
    for name in ("my/kernel", "sdpa/flash"):
        mine = [result for result in silent if result.implementation == name]
        assert mine, "two problems a cell leave no law with nothing to say: this test sees nothing"
        assert all(f"says nothing {result.problems} " in shown(done.stdout, result) for result in mine)
    assert passes(tmp_path / "reports" / "junit.xml") == {(r.implementation, r.law, r.dtype) for r in held}
    said = words(done.stdout)
    assert f"{len(results)} cells: {len(held)} held, 0 broken, {len(silent)} say nothing, 0 not reached" in said
    assert f"No violation in {sum(result.verified for result in held)} problems; exit code 0" in said


def passes(path: Path) -> set[tuple[str, str, str]]:
    """Implementation, law and dtype of the cases that neither failed nor were skipped."""
    return {
        (case.attrib["classname"].removesuffix(" on cpu"), *case.attrib["name"].removesuffix("]").split("["))
        for case in ElementTree.parse(path).getroot().iter("testcase")
        if case.find("skipped") is None and case.find("failure") is None
    }  # type: ignore[misc]


def shown(output: str, result: CellResult) -> str:
    """What the table of its implementation shows of a cell."""
    lines = output[output.index(f" cpu {result.implementation} ") :].splitlines()
    heading = next(line for line in lines if line.startswith("┃ law"))
    column = [part.strip() for part in heading.strip("┃").split("┃")].index(result.dtype)
    line = next(line for line in lines if line.startswith(f"│ {result.law} "))
    return line.strip("│").split("│")[column].strip()
