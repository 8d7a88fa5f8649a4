"""Reports as files: JUnit, Markdown, JSON lines; and what is said where one cannot be written."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.verification.reporting.samples import HOSTILE, events, failures, hostile, passed, summary
from verification.reporting.events import RunEnded, read_events, to_line
from verification.reporting.files import AT_THE_END, Files
from verification.reporting.json_lines import JsonLines
from verification.reporting.junit import junit
from verification.reporting.markdown import markdown


def test_junit() -> None:
    """A case a cell: broken ones fail with what was found, skipped ones say why."""
    root = ElementTree.fromstring(junit(summary()))
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"attn_core/eager on cpu", "attn_core/eager on cuda"}
    cpu = suites["attn_core/eager on cpu"]
    assert (cpu.get("tests"), cpu.get("failures"), cpu.get("skipped")) == ("6", "2", "0")
    failed = [case for case in cpu if case.find("failure") is not None]
    assert {case.get("name") for case in failed} == {"agrees_with_reference[float16]", "visible_nan_appears[float16]"}
    assert {case.find("skipped").get("message") for case in suites["attn_core/eager on cuda"]} == {"no CUDA device"}  # type: ignore[union-attr]
    assert "500 problems, 20 of them outside the law, largest err/bound 0.933" in junit(summary())


def test_hostile_texts_in_xml() -> None:
    """Escaped; characters that XML does not have are replaced."""
    root = ElementTree.fromstring(junit(hostile()))
    assert any(case.get("name") == f"{HOSTILE}[{HOSTILE}]" for case in root.iter("testcase"))
    broken = summary()
    broken.results[0].__dict__["failure"] = "null \x00 and \x1b[31m"
    ElementTree.fromstring(junit(broken))


def test_markdown() -> None:
    """Verdict, matrix, findings."""
    text = markdown(summary())
    assert text.startswith("## Attention laws: 4 broken: `agrees\\_with\\_reference`")
    assert "| cuda attn\\_core/eager | not run: no CUDA device | not run: no CUDA device |" in text
    assert "| cpu attn\\_core/eager | **2 of 3 broken**, 1,500 problems, err/bound 0.933 |" in text
    assert "    sequence 0: 3 queries, 3 keys" in text
    assert "Pairs of features never tried: " in text
    assert markdown(passed()).startswith("## Attention laws: No violation")


def test_hostile_texts_in_markdown() -> None:
    """No tag, no pipe and no backtick of theirs stands outside of a block of code."""
    for line in markdown(hostile()).splitlines():
        if not line.startswith("    "):
            assert "<script>" not in line.replace("\\<", "")


def written(folder: Path) -> tuple[set[str], list[str]]:
    """Files and complaints of a run."""
    said: list[str] = []
    reporter = Files(folder, said.append, folder.parent / "step.md")
    for event in events():
        reporter.receive(event)
    return {path.name for path in folder.glob("*")} if folder.is_dir() else set(), said


def test_all_reports_are_written(tmp_path: Path) -> None:
    """When the run ends; the events as they happen."""
    names, said = written(tmp_path / "reports")
    assert names == {"run.jsonl", *AT_THE_END}
    assert said == []
    assert [to_line(event) for event in read_events(tmp_path / "reports/run.jsonl")] == list(map(to_line, events()))
    assert (tmp_path / "step.md").read_text() == markdown(summary())


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """A line for each report; the run goes on."""
    (tmp_path / "reports").write_text("")
    names, said = written(tmp_path / "reports")
    assert names == set()
    assert len(said) == 1 + len(AT_THE_END)
    assert all(line.startswith(f"NOT WRITTEN: {tmp_path / 'reports'}") for line in said)


@pytest.mark.parametrize("name", ["run.jsonl", *AT_THE_END])
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    """One line names the file; the others are written."""
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / name).symlink_to("/dev/full")
    names, said = written(folder)
    assert said == [f"NOT WRITTEN: {folder / name} (No space left on device)"]
    assert names == {"run.jsonl", *AT_THE_END}


def test_lines_are_out_at_once() -> None:
    """What was done outlives the process."""
    stream = io.StringIO()
    JsonLines(stream).receive(RunEnded(1.0, 0))
    assert stream.getvalue().endswith("}\n")


def test_every_failure_is_kept_somewhere() -> None:
    """Or said not to be."""
    assert all(failure.kept or failure.not_kept for failure in failures())
