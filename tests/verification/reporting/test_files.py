"""Reports as files: JUnit, Markdown, JSON lines; and what is said where one cannot be written."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.verification.reporting.samples import (
    HOSTILE,
    events,
    failures,
    five,
    hostile,
    outside,
    passed,
    summary,
    unreached,
)
from verification.records.results import State
from verification.reporting.events import RunEnded, RunStarted
from verification.reporting.files import AT_THE_END, EARLIER, LOCK, Files
from verification.reporting.headline import headline
from verification.reporting.json_lines import JsonLines
from verification.reporting.junit import junit
from verification.reporting.lines import read_events, to_line
from verification.reporting.markdown import markdown
from verification.reporting.page import page
from verification.reporting.summary import Summary


def test_junit() -> None:
    """A case a cell: broken ones fail with what was found, skipped ones say why."""
    root = ElementTree.fromstring(junit(summary()))
    suites = {suite.get("name"): suite for suite in root}
    assert set(suites) == {"attn_core/eager on cpu", "attn_core/eager on cuda"}
    cpu = suites["attn_core/eager on cpu"]
    assert (cpu.get("tests"), cpu.get("failures"), cpu.get("skipped")) == ("6", "2", "0")
    assert counted(cpu) == {"held": "4", "broken": "2", "says nothing": "0", "not reached": "0", "not run": "0"}
    failed = [case for case in cpu if case.find("failure") is not None]
    assert {case.get("name") for case in failed} == {"agrees_with_reference[float16]", "visible_nan_appears[float16]"}
    cuda = suites["attn_core/eager on cuda"]
    assert {skipped.get("message") for skipped in cuda.iter("skipped")} == {"not run: no CUDA device"}
    assert cuda.get("skipped") == "6"
    assert "500 problems, 20 of them outside the law, largest err/bound 0.933" in junit(summary())


def counted(suite: ElementTree.Element) -> dict[str | None, str | None]:
    return {each.get("name"): each.get("value") for each in suite.findall("properties/property")}


def test_each_state_in_junit() -> None:
    """A pass has nothing to say; whatever else did not break is skipped, with its word and its reason."""
    suites = {suite.get("name"): suite for suite in ElementTree.fromstring(junit(five()))}
    ones = dict.fromkeys(("held", "broken", "says nothing", "not reached"), "1")
    assert counted(suites["x on cpu"]) == ones | {"not run": "0"}
    told = {
        case.get("name"): [child.get("message") for child in case if child.tag in ("failure", "skipped")]
        for case in suites["x on cpu"].iter("testcase")
    }
    assert told == {
        "first[float16]": [],
        "first[float32]": ["says nothing: the call has no cache; another reason"],
        "second[float16]": ["broken: 3 of 32 elements out of bound"],
        "second[float32]": ["not reached: the budget ended first"],
    }
    words = [each.get("value") for suite in suites.values() for each in suite.findall("testcase/properties/property")]
    assert set(words) == set(State)


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (outside(), "Nothing was verified"),
        (Summary(), "Nothing was verified"),
        (unreached(), "3 of 4 cells not reached, no violation in 480 problems, not ended"),
        (unreached(RunEnded(5.0, 3, error="Died: gone")), "The run died after 480 verified problems: Died: gone"),
    ],
)
def test_a_run_that_says_nothing_is_red(of: Summary, said: str) -> None:
    """Skipped cases are not: the run has an error of its own."""
    root = ElementTree.fromstring(junit(of))
    assert [error.get("message") for error in root.iter("error")] == [said]
    assert [suite.get("errors") for suite in root] == [*[None] * (len(root) - 1), "1"]
    assert not list(ElementTree.fromstring(junit(passed())).iter("error"))


def test_each_state_in_markdown() -> None:
    """In the matrix and in a list."""
    text = markdown(five())
    narrow = "**1 of 2 broken**, 1,000 problems, err/bound 0.933"
    assert f"| cpu x | {narrow} | 9 problems, err/bound 0.000, 1 says nothing, 1 not reached |" in text
    assert "- says nothing, the call has no cache; another reason: first-float32-cpu-x" in text
    assert "- not reached, the budget ended first: second-float32-cpu-x" in text
    assert "- not run, no CUDA device: first-float16-cuda-x" in text
    assert "5 cells: 1 held, 1 broken, 1 says nothing, 1 not reached, 1 not run (no CUDA device)" in text
    assert markdown(outside()).startswith("## Attention laws: Nothing was verified\n")
    assert markdown(unreached(RunEnded(1.0, 3))).startswith("## Attention laws: 3 of 4 cells not reached")


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


REPORTS = {"run.jsonl", *AT_THE_END}


def reporter(folder: Path, said: list[str]) -> Files:
    return Files(folder, said.append, folder.parent / "step.md")


def written(folder: Path) -> tuple[set[str], list[str]]:
    """Files and complaints of a run."""
    said: list[str] = []
    files = reporter(folder, said)
    for event in events():
        files.receive(event)
    assert len(files.not_written) == len(said)
    return {path.name for path in folder.glob("[!.]*")}, said


def test_all_reports_are_written(tmp_path: Path) -> None:
    """When the run ends; the events as they happen."""
    names, said = written(tmp_path / "reports")
    assert names == REPORTS
    assert said == []
    assert [to_line(event) for event in read_events(tmp_path / "reports/run.jsonl")] == list(map(to_line, events()))
    assert (tmp_path / "step.md").read_text() == markdown(summary())


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    """No run begins."""
    (tmp_path / "reports").write_text("")
    with pytest.raises(OSError, match="File exists"):
        reporter(tmp_path / "reports", [])


@pytest.mark.parametrize("name", sorted(REPORTS))
def test_a_file_that_cannot_be_one(tmp_path: Path, name: str) -> None:
    """No run begins, and the folder is free for the next."""
    (tmp_path / "reports" / name).mkdir(parents=True)
    with pytest.raises(OSError, match="Is a directory"):
        reporter(tmp_path / "reports", [])
    (tmp_path / "reports" / name).rmdir()
    assert written(tmp_path / "reports") == (REPORTS, [])


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    """While one writes the other is refused, and nothing of the first is lost; after its end the next may begin."""
    folder = tmp_path / "reports"
    first = reporter(folder, [])
    first.receive(events()[0])
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(OSError, match="another run is writing there"):
        reporter(folder, [])
    assert {path.name: path.read_text() for path in folder.iterdir()} == before
    first.receive(events()[-1])
    assert written(folder) == (REPORTS, [])


def test_nothing_stays_of_the_run_before(tmp_path: Path) -> None:
    """Where a run dies at once its reports are empty, and where it is killed later they say that it did not end."""
    folder = tmp_path / "reports"
    written(folder)
    files = reporter(folder, [])
    assert {path.read_text() for path in folder.iterdir() if path.is_file()} == {""}
    files.receive(unreached().runs[0])
    assert "Nothing was verified, not ended" in (folder / "index.html").read_text()
    listed = "not reached, the run did not end: {first,second}-{float16,float32}-cpu-x"
    assert listed in (folder / "summary.md").read_text()
    root = ElementTree.fromstring((folder / "junit.xml").read_text())
    assert [each.get("message") for each in root.iter("skipped")] == ["not reached: the run did not end"] * 4
    assert [each.get("message") for each in root.iter("error")] == ["Nothing was verified, not ended"]


@pytest.mark.parametrize("name", ["run.jsonl", *AT_THE_END])
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    """One line names the file; the others are written."""
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / name).symlink_to("/dev/full")
    names, said = written(folder)
    assert said == [f"NOT WRITTEN: {folder / name} (No space left on device)"]
    assert names == REPORTS


def test_lines_are_out_at_once() -> None:
    """What was done outlives the process."""
    stream = io.StringIO()
    JsonLines(stream).receive(RunEnded(1.0, 0))
    assert stream.getvalue().endswith("}\n")


def test_every_failure_is_kept_somewhere() -> None:
    """Or said not to be."""
    assert all(failure.kept or failure.not_kept for failure in failures())


LOST = "worker 4711 died of SIGKILL: its round of cache_is_exact-float16-cpu-attn_core/eager is tried again"


def test_a_worker_that_was_lost_is_told() -> None:
    """In Markdown and on the page, though its round was tried again."""
    assert f"- {LOST}" in markdown(summary()).replace("\\", "")
    assert f"W{LOST[1:]}." in headline(summary()).notes
    assert f"W{LOST[1:]}." in page(summary())


def test_reports_of_the_run_before_are_moved_away(tmp_path: Path) -> None:
    """All together, into a folder of their own that holds one run; no report of theirs is among the new ones."""
    for seed in (1, 2, 3):
        files = Files(tmp_path, pytest.fail)
        assert (tmp_path / "run.jsonl").read_text() == ""
        for event in events():
            files.receive(replace(event, seed=seed) if isinstance(event, RunStarted) else event)
    for folder, seed in ((tmp_path, 3), (tmp_path / EARLIER, 2)):
        [started] = Summary(read_events(folder / "run.jsonl")).runs
        assert started.seed == seed
        assert {path.name for path in folder.iterdir() if path.is_file()} >= {"run.jsonl", *AT_THE_END}
    assert f"seed {2}" in (tmp_path / EARLIER / "summary.md").read_text()


def test_a_run_that_never_began_leaves_no_reports(tmp_path: Path) -> None:
    """Neither its own nor, in their place, those of the run before; and its folder is free."""
    files = Files(tmp_path, pytest.fail)
    for event in events():
        files.receive(event)
    Files(tmp_path, pytest.fail).close()
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, EARLIER}
    Files(tmp_path, pytest.fail).close()
    assert (tmp_path / EARLIER / "run.jsonl").stat().st_size
