"""The command line in the words of a person: answers, exit codes, and errors of one line."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from properties.cli import app
from properties.laws import LAWS
from tests.properties.wrapped import Wrapped
from tests.verification.reporting.samples import events
from tests.verification.samples import DECODE, PREFILL
from verification.backends.attn_core import AttnCore
from verification.backends.contract import Contract
from verification.catalogue import UnknownBackend, backend_named, implementations
from verification.faults import FAULTS
from verification.problem.json_io import to_json
from verification.records import findings
from verification.records.findings import Finding, save
from verification.reporting.lines import to_line

CORPUS = findings.CORPUS
FAULT = str(CORPUS / "mask-one-future.json")


def asked(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str, code: int = 2) -> str:
    """The one line that says why."""
    result = asked(*arguments)
    assert result.exit_code == code, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_finding_is_replayed() -> None:
    """On the backend of its file, or on another; the exit code says which laws hold."""
    result = asked("replay", FAULT)
    assert result.exit_code == 1
    assert "agrees_with_reference is broken by mask-one-future on cpu" in result.output
    result = asked("replay", FAULT, "--backend", "attn_core/eager")
    assert result.exit_code == 0
    assert "attn_core/eager on cpu: largest err/bound" in " ".join(result.output.split())


def test_a_problem_may_be_given_as_text() -> None:
    """As a report prints it where there is no file."""
    assert asked("replay", to_json(DECODE)).exit_code == 0
    finding = Finding(PREFILL, "cache_is_exact", "slot-negative-wraps", "cpu")
    assert asked("replay", finding.to_line(), "--backend", "attn_core/eager").exit_code == 0


def test_one_law_may_be_asked() -> None:
    """A law that says nothing of the problem verifies nothing."""
    assert asked("replay", FAULT, "--law", "cache_is_exact").exit_code == 3
    assert asked("replay", FAULT, "--law", "agrees_with_reference").exit_code == 1


def test_replays_for_machines() -> None:
    """A line of JSON a problem."""
    result = asked("replay", FAULT, str(CORPUS / "table-slides.json"), "--json", "--law", "agrees_with_reference")
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["problem"] for each in found] == [FAULT, str(CORPUS / "table-slides.json")]
    assert all(each["broken"][0]["finding"]["law"] == "agrees_with_reference" for each in found)


def test_what_a_kernel_prints_is_no_json() -> None:
    """Though it runs in the same process; see `tests.properties.commands.test_output` for what C code prints."""
    backend = ("--backend", "tests.verification.crashing:PRINTS", "--trusted")
    result = asked("replay", FAULT, *backend, "--json")
    assert json.loads(result.stdout)["broken"] == []
    assert "from Python" in result.stderr
    assert not asked("replay", FAULT, *backend).stdout.startswith("{")


def test_a_problem_is_shown() -> None:
    """With its law, what it broke, and who sees what."""
    result = asked("show", FAULT)
    assert result.exit_code == 0
    for part in ("agrees_with_reference, broken by mask-one-future on cpu", "|out - exact| <= bound", "sees 1 of 2"):
        assert part in result.output
    assert json.loads(asked("show", FAULT, "--json").stdout)["law"] == "agrees_with_reference"


def test_a_law_that_was_given_up_is_no_error(tmp_path: Path) -> None:
    """The problem is what counts."""
    path = save(Finding(PREFILL, "a law of old", "attn_core/eager", "cpu", "it broke"), tmp_path)
    assert "no law has that name any more" in asked("show", str(path)).output
    assert asked("replay", str(path)).exit_code == 0


def test_what_no_strategy_draws_is_replayed(tmp_path: Path) -> None:
    """A file outlives the lists of sizes that it was once drawn from; it is shown, broken, explained all the same."""
    odd = {"num_heads": 14, "num_kv_heads": 7, "head_dim": 7, "block_size": 5, "slot_mapping": (3, 4)}
    problem = replace(DECODE, **odd, block_tables=((2, 0, -9), (1, 99, 7)))  # type: ignore[arg-type]
    path = save(Finding(problem, "agrees_with_reference", "attn_core/eager", "cpu"), tmp_path)
    assert asked("replay", str(path)).exit_code == 0
    assert "it read kv head" in asked("replay", str(path), "--backend", "gqa-tile").output
    assert asked("show", str(path)).exit_code == 0


def test_a_script_is_written(tmp_path: Path) -> None:
    """To a file or to standard output."""
    output = tmp_path / "report.py"
    assert asked("script", FAULT, "--output", str(output)).exit_code == 0
    compile(output.read_text(), "report.py", "exec")
    assert asked("script", FAULT).stdout == output.read_text()
    assert "--output" in refused("script", FAULT, "--output", str(tmp_path / "none" / "report.py"))


def test_nothing_to_script() -> None:
    """An honest implementation gives no script that fails."""
    assert "attn_core/eager" in refused("script", FAULT, "--backend", "attn_core/eager", code=3)


def test_a_report_of_several_runs(tmp_path: Path) -> None:
    """One page."""
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths:
        path.write_text("\n".join(map(to_line, events())))
    output = tmp_path / "pages" / "index.html"
    result = asked("report", *map(str, paths), "--output", str(output))
    assert result.exit_code == 0
    assert "seed 7, 7" in result.output
    assert output.read_text().startswith("<!DOCTYPE html>")
    paths[1].write_text(paths[1].read_text()[:-40])
    assert "b.jsonl: line" in refused("report", *map(str, paths), "--output", str(output))
    (tmp_path / "taken").write_text("")
    assert "--output" in refused("report", str(paths[0]), "--output", str(tmp_path / "taken" / "index.html"))


def test_laws_and_backends_are_listed() -> None:
    """For persons and for machines."""
    assert {row["name"] for row in json.loads(asked("laws", "--json").stdout)} == {law.name for law in LAWS}
    assert "agrees_with_reference" in asked("laws").output
    needs = {row["name"]: row["needs"] for row in json.loads(asked("laws", "--json").stdout)}
    assert needs["agrees_with_reference"] == []
    assert needs["chunks_equal_one_shot"][-1] == "alignment bottom_right"
    assert "alignment bottom_right" in asked("laws").output
    listed = json.loads(asked("backends", "--json", "--faults").stdout)
    assert {"attn_core/eager", "sdpa/flash", "flex/compiled"} <= {row["name"] for row in listed["implementations"]}
    assert {row["name"] for row in listed["faults"]} == set(FAULTS)
    assert "sdpa/math" in asked("backends").output
    assert "mask-one-future: " in asked("backends", "--faults").output


@pytest.mark.parametrize("width", ["60", "80"])
def test_lists_are_whole_on_a_narrow_screen(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name is cut, and nothing that goes with it."""
    monkeypatch.setenv("COLUMNS", width)
    for command, names in (("backends", implementations()), ("laws", [law.name for law in LAWS])):
        output = asked(command).output
        assert "…" not in output
        assert all(len(line) <= int(width) for line in output.splitlines())
        columns = ["".join(line.split("│")[1].split()) for line in output.splitlines() if line.startswith("│")]
        assert all("".join(name.split()) in "".join(columns) for name in names)


def test_an_error_of_a_foreign_module_is_printable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it says while it is imported."""
    (tmp_path / "loud_kernel.py").write_text("raise ValueError('\\x1b[31m\\x00 \\ud800')")
    monkeypatch.syspath_prepend(str(tmp_path))
    line = refused("replay", FAULT, "--backend", "loud_kernel:Kernel")
    assert "\\x1b[31m\\x00 \\ud800" in line
    assert line.isprintable()


def test_what_is_promised_of_some_arguments_or_phases_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it differs, too."""
    contract = Contract(("float16",), refuses=frozenset({"q", "k"})).differing("decode", scoring={"window", "scale"})
    theirs = Wrapped(contract=contract)
    monkeypatch.setattr("properties.commands.lists.implementations", lambda: {"theirs": ("cpu",)})
    monkeypatch.setattr("properties.commands.lists.open_backend", lambda _name, _device, _patience: theirs)
    monkeypatch.setattr("properties.commands.lists.installed", dict)
    [row] = json.loads(asked("backends", "--json").stdout)["implementations"]
    assert row["contract"]["refuses"] == ["k", "q"]
    assert row["contract"]["by_phase"] == {"decode": {"scoring": ["scale", "window"]}}
    said = " ".join(asked("backends").output.replace("│", " ").split())
    assert all(part in said for part in ("refuses k, q,", "range_events,", "nonfinite,", "others in decode"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fuzz", "--dtype", "float8"), "--dtype: 'float8' (must be one of float16"),
        (("fuzz", "--device", "tpu"), "--device: 'tpu' (must be one of cpu, cuda)"),
        (("fuzz", "--table", "round"), "--table: 'round' (must be one of laws, matrix)"),
        (("fuzz", "--minutes", "1", "--examples", "5"), "--minutes: 1 with --examples 5"),
        (("fuzz", "-k", "nothing has this"), "no cell has what --only"),
        (("fuzz", "--backend", "vllm"), "backend: 'vllm' (must be one of attn_core/eager"),
        (("fuzz", "--sharp", "--backend", "sdpa/math"), "--sharp: sdpa/math (must state a `documented` precision"),
        (("probe", "--sharp", "--backend", "sdpa/math"), "--sharp: sdpa/math (must state a `documented` precision"),
        (("replay", "none.json"), "none.json: "),
        (("replay", "{}"), "version: None"),
        (("replay", FAULT, "--law", "gravity"), "--law: 'gravity' (must be one of agrees_with_reference"),
        (("replay", FAULT, "--backend", "sdpa/cudnn"), "'sdpa/cudnn' has no implementation on cpu (it runs on cuda)"),
        (("replay", FAULT, "--device", "tpu"), "device: 'tpu' (must be one of cpu, cuda)"),
        (("replay", FAULT, "--backend", "no_module:backend"), "No module named 'no_module'"),
        (("replay", FAULT, "--backend", "json:decoder"), "is no backend: it has no name"),
        (
            ("replay", FAULT, "--backend", "tests.properties.laws.test_claims:Wrong"),
            "bitwise: 'same_call_same_bit' (must be",
        ),
        (
            ("script", FAULT, "--backend", "tests.properties.laws.test_claims:Wrong"),
            "bitwise: 'same_call_same_bit' (must be",
        ),
        (("show", '{"version": 1, "phase": "encode"}'), "phase: 'encode'"),
        (("report", "none.jsonl"), "none.jsonl: "),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    """They name the option or the field, its value and the rule."""
    assert message in refused(*arguments)


@pytest.mark.parametrize("command", [("fuzz", "--examples", "1"), ("probe",), ("replay", FAULT), ("script", FAULT)])
def test_claims_and_foreign_modules_are_looked_at_first(command: tuple[str, ...]) -> None:
    """A misspelt law, and whatever a module raises while it is imported: see `tests.verification.test_catalogue`."""
    line = refused(*command, "--backend", "tests.properties.laws.test_claims:Wrong")
    assert "bitwise: 'same_call_same_bit' (must be a law that can hold to the bit; the nearest is" in line
    line = refused(*command, "--backend", "tests.properties.misspelt_kernel:Kernel")
    assert "misspelt_kernel.py, line 10: blind: 'zero' (must be one of 'zeros', " in line
    assert "tests.properties.misspelt_kernel" not in sys.modules


def test_no_reports_of_an_earlier_run_are_left_where_none_begins(tmp_path: Path) -> None:
    """They are in a folder of their own."""
    (tmp_path / "junit.xml").write_text("green")
    refused("fuzz", "--backend", "vllm", "--reports", str(tmp_path))
    assert not (tmp_path / "junit.xml").exists()
    assert (tmp_path / ".earlier" / "junit.xml").read_text() == "green"


def test_usage() -> None:
    """Wrong types are the command line's own."""
    assert asked("fuzz", "--minutes", "soon").exit_code == 2
    assert asked("fly").exit_code == 2
    assert asked("--help").exit_code == 0


def test_a_corpus_that_cannot_be_read_stops_the_run(tmp_path: Path) -> None:
    """Before it starts, in one line."""
    (tmp_path / "bad.json").write_text('{"version": 99}')
    assert "bad.json: version: 99" in refused("fuzz", "--corpus", str(tmp_path), "--reports", str(tmp_path / "r"))


def test_every_name_finds_its_backend() -> None:
    """Ours, torch's, planted ones, and anybody's."""
    for name in ("attn_core/eager", "attn_core/split decode", "sdpa/flash", "mask-one-future"):
        assert backend_named(name).name == name
    assert backend_named("tests.properties.wrapped:HONEST") == AttnCore()
    assert backend_named("verification.backends.attn_core:AttnCore") == AttnCore()
    with pytest.raises(UnknownBackend, match="backend"):
        backend_named("tests.properties.wrapped:NOBODY")


def test_a_bug_is_no_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its traceback is shown, and nothing was verified."""

    def broken(json: bool) -> int:
        raise RuntimeError(f"a bug, json {json}")

    monkeypatch.setattr("properties.commands.lists.list_laws", broken)
    result = asked("laws")
    assert result.exit_code == 3
    assert "RuntimeError: a bug" in result.stderr
