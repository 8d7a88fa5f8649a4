"""Findings on disk: they come back whole, outlive versions, and what is no finding is refused in a line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.verification.samples import DECODE, PREFILL
from verification.problem import Problem, json_io
from verification.problem.json_io import to_json
from verification.problem.reading import ProblemError
from verification.records.findings import CORPUS, Finding, load, load_folder, locate, read, save, shown

FINDING = Finding(DECODE, "agrees_with_reference", "somebody's kernel", "cuda", '3 elements\n  token 0 "x"')


def test_it_comes_back_whole(tmp_path: Path) -> None:
    """Named by its law and its problem; the same finding is one file."""
    path = save(FINDING, tmp_path / "made" / "on demand")
    assert path == save(replace(FINDING, message="in other words"), path.parent)
    for other in (replace(FINDING, law="x"), replace(FINDING, backend="y"), replace(FINDING, problem=PREFILL)):
        assert path != save(other, path.parent)
    assert path.name.startswith("agrees_with_reference-")
    save(FINDING, path.parent)
    assert load(path) == FINDING
    assert load_folder(path.parent)[path.name] == FINDING
    assert len(path.read_text().splitlines()) == 7


def test_a_bare_problem_is_a_finding() -> None:
    """Of no law in particular."""
    assert read(to_json(PREFILL)) == Finding(PREFILL)


def test_a_folder_that_was_named_must_exist(tmp_path: Path) -> None:
    """An empty one holds nothing."""
    assert load_folder(tmp_path) == {}
    with pytest.raises(ProblemError, match="nowhere: no such folder"):
        load_folder(tmp_path / "nowhere")


def test_shipped_files_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that reports print; a file that is really there comes first."""
    monkeypatch.chdir(tmp_path)
    name = Path("corpus/log-masked.json")
    assert locate(name) == CORPUS / "log-masked.json"
    assert shown(locate(name)) == str(name)
    name.parent.mkdir()
    name.write_text("{}")
    assert locate(name) == name
    assert locate(Path("corpus/nothing.json")) == Path("corpus/nothing.json")


def test_older_versions_are_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of today, once `seed` is called otherwise in the next version and gone from the one after it."""
    path = save(FINDING, tmp_path)

    def renamed(data: dict[str, Any]) -> dict[str, Any]:
        return {("number" if name == "seed" else name): value for name, value in data.items()}

    def dropped(data: dict[str, Any]) -> dict[str, Any]:
        assert data["number"] == DECODE.seed
        return {name: value for name, value in data.items() if name != "number"}

    today = json_io.VERSION
    monkeypatch.setattr(json_io, "VERSION", today + 2)
    monkeypatch.setattr(json_io, "MIGRATIONS", {**json_io.MIGRATIONS, today: renamed, today + 1: dropped})
    assert load(path).problem == replace(DECODE, seed=0)


@pytest.mark.parametrize("version", [0, json_io.VERSION + 1, -1, None, "1", 1.0, True])
def test_other_versions_are_refused(version: object, tmp_path: Path) -> None:
    """By name of the file and the field."""
    path = tmp_path / "later.json"
    path.write_text(json.dumps({"law": "x", "problem": {**asdict(DECODE), "version": version}}))
    with pytest.raises(ProblemError, match=r"later.json: version: .*\(this release reads versions 1 to 2\)$"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"law": 3, "problem": {}}', "law: "),
        ('{"laws": "x", "problem": {}}', "'laws': "),
        ('{"law": "x", "law": "y", "problem": {}}', "'law': given twice"),
        ('{"law": "x", "problem": [1]}', "problem: must be an object"),
        ('{"law": "x", "problem": {"version": 1, "phase": "x"}}', "phase: "),
        ('{"law": "x", "problem": ', "problem: not JSON"),
        ("[" * 100_000, "problem: not JSON"),
        ("\x00", "problem: not JSON"),
        ("", "problem: not JSON"),
    ],
)
def test_what_is_no_finding_is_refused_in_a_line(text: str, message: str, tmp_path: Path) -> None:
    """With its file."""
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ProblemError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert len(str(caught.value).splitlines()) == 1


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """And a folder is no file."""
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xfe{")
    for bad in (path, tmp_path):
        with pytest.raises(ProblemError, match=str(bad)):
            load(bad)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is an OSError, and no half a file stays behind."""

    def full(self: Path, text: str, encoding: str) -> int:
        with self.open("w", encoding=encoding) as file:
            file.write(text[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        save(FINDING, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    """As a read-only folder would be."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="taken"):
        save(FINDING, tmp_path / "taken")


def test_problems_of_any_kind_fit(tmp_path: Path) -> None:
    """Also those that a person wrote by hand."""
    problem = Problem("prefill", "float64", 1, 1, 1, (1,), (1,))
    assert load(save(Finding(problem), tmp_path)).problem == problem
