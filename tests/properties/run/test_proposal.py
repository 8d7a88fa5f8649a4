"""A proposal says of what it leaves out that it may be a defect, and how to see it."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from properties.cli import app
from properties.commands.probe import show_progress
from properties.run.point import Point, try_law
from properties.run.probe import AGREES, Promising, _scored
from properties.run.proposal import holds_only_if, unmeasured, weakened
from verification.adapter import Batch
from verification.adapters.written import Written
from verification.backends.contract import Contract
from verification.backends.protocol import Backend

FIELDS = ("dtypes", "head_dims", "alignments", "scoring", "defines", "blind", "refuses", "range_events", "bitwise")


class Deaf(Written):
    """One that promises a softcap, and ignores it."""

    name = "somebody/deaf"
    contract = Contract(
        ("float32",), ("prefill",), dense_batches=True, scoring=frozenset({"softcap"}), range_events=False
    )

    def attend(self, batch: Batch):  # type: ignore[no-untyped-def]
        return super().attend(replace(batch, softcap=0.0))


def few_points(backend: Backend, seed: int, examples: int) -> Iterator[Point]:
    """Two of them, as `probe` tries them."""
    only = replace(backend.contract, head_dims=(3,), refuses=False, nonfinite=False)
    for law, field, value in ((AGREES, "dtypes", "float32"), (_scored("softcap"), "scoring", "softcap")):
        asked = replace(only, scoring=frozenset({"softcap"} if field == "scoring" else ()))
        yield try_law(law, Promising(backend, asked), "float32", seed, examples, shrink=True).point(field, value, True)


@pytest.fixture(scope="module")
def probed() -> Result:
    """As a person sees it on 80 columns."""
    arguments = ["probe", "--backend", "tests.properties.run.test_proposal:Deaf", "--examples", "40", "--trusted"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setattr("properties.commands.probe.probe", few_points)
        return CliRunner().invoke(app, arguments)


def test_a_defect_is_not_proposed_as_a_contract(probed: Result) -> None:
    """One line for what was promised and broke, and a command that shows it again."""
    assert probed.exit_code == 1
    said = " ".join(probed.stdout.split())
    wanted = "scoring softcap: the proposal holds only if no call has softcap: if your documentation promises it, "
    assert f"{wanted}this is a finding" in said
    [command] = [line for line in probed.stdout.splitlines() if line.startswith("  attn-verify replay ")]
    _, *arguments = shlex.split(command)
    replayed = CliRunner().invoke(app, [*arguments, "--trusted", "--law", "agrees_with_reference"])
    assert replayed.exit_code == 1
    assert "agrees_with_reference is broken by" in replayed.stdout
    problem = json.loads(arguments[1])["problem"]
    assert problem["scoring"]["softcap"] > 0
    assert problem["query_lens"][0] <= 2  # made small


def test_no_reason_is_lost(probed: Result) -> None:
    """On 80 columns."""
    assert "…" not in probed.stdout
    column = "".join("".join(line.split("│")[-2].split()) for line in probed.stdout.splitlines() if line.count("│") > 2)
    assert "elementsoutofbound,err/boundupto" in column


def test_what_was_weakened() -> None:
    """Declared and broken; what no problem told of is another matter, and what was never declared is none."""
    held = Point("bitwise", "held", True, 5)
    broken = replace(held, value="broken", broken="so")
    silent = replace(held, value="silent", problems=0)
    undeclared = [replace(point, declared=False) for point in (held, broken, silent)]
    points = [held, broken, silent, *undeclared]
    assert weakened(points) == [broken]
    assert unmeasured(points) == [silent]
    assert unmeasured([replace(silent, field="defines")]) == []


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_has_its_words(field: str) -> None:
    """And a phase, where contracts differ from phase to phase."""
    said = holds_only_if(Point(field, "that", True, 3, "so", "decode"))
    assert said.startswith(f"{field} that in decode: the proposal holds only if ")
    assert said.endswith("in a decode: if your documentation promises it, this is a finding")


def test_progress_is_shown_on_a_terminal() -> None:
    """How many points there are so far; in a log nothing."""
    points = [Point("dtypes", "float16", True, 3), Point("defines", "slots: -1", True, 3, "so")]
    for terminal in (True, False):
        stream = io.StringIO()
        console = Console(file=stream, width=60, force_terminal=terminal, color_system=None)
        assert list(show_progress(points, console)) == points
        assert ("2 points, the last: defines slots: -1 breaks" in stream.getvalue()) == terminal
