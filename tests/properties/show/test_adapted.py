"""A paged kernel's violation as a script: its class, cut out, fails where nothing of ours can be imported."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from pathlib import Path

import pytest

from properties.laws import LAWS
from properties.run.round import fuzz
from properties.show.recorded import write_script
from tests.verification.batched_kernel import Shifted
from tests.verification.isolated import Ended, run_isolated
from tests.verification.paged_kernel import OfTwoNames, OwesNaN, Scored, SeesOneMore
from verification.adapters.flex_paged import Paged as Flex
from verification.backends.protocol import Backend
from verification.backends.snippet import ScriptError
from verification.catalogue import backend_named
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.problem.scoring import Scoring
from verification.records import findings
from verification.records.entries import Entry, entries

LEDGER = entries(findings.LEDGER)
LAW = {law.name: law for law in LAWS}
EXACT = Precision("float64", "float64", "float64", "float64")
CHUNK = Problem("chunked", "float16", 1, 1, 1, (2,), (2,), 1, 3, (-1, -1), ((1, 2),), value_fill="index")


@pytest.mark.parametrize(
    "law",
    ["agrees_with_reference", "batch_does_not_matter", pytest.param("a_chunk_is_its_decodes", marks=pytest.mark.slow)],
)
def test_it_fails_by_its_assert_alone(law: str, tmp_path: Path) -> None:
    """And passes once the kernel is right."""
    _, broken, _ = fuzz(LAW[law], SeesOneMore(), "float16", 1, 60)
    assert broken is not None
    text = write_script(broken.problem, LAW[law], SeesOneMore())
    assert "verification" not in text.partition("import numpy")[2]
    mended = text.replace("    more = 1", "    more = 0")
    ended = run_isolated({"wrong": text, "mended": mended}, tmp_path)
    assert ended["wrong"].error.startswith("AssertionError: token "), ended["wrong"]
    assert (ended["mended"].error, ended["mended"].printed) == ("", "ok\n")


def test_it_reads_as_it_was_written() -> None:
    """Without what the class says of itself to us; what the code asks of a problem is given as plain data."""
    text = write_script(CHUNK, "agrees_with_reference", SeesOneMore())
    assert '\nclass Honest:\n    """A loop over sequences."""\n    # How many' in text
    assert '\nclass SeesOneMore(Honest):\n    """The diagonal lies one key too far."""\n    more = 1\n' in text
    assert "query_lens=(2,), scale=1.0)" in text
    assert "promising" not in text
    assert "somebody/paged, one more did on cpu" in text


def test_what_sees_nothing_is_as_promised(tmp_path: Path) -> None:
    """NaN, where that is; a mean no script knows."""
    nothing = replace(CHUNK, query_lens=(1,), key_lens=(1,), slot_mapping=(-1,), block_tables=((-1,),))
    ended = run_isolated({"it": write_script(nothing, "agrees_with_reference", OwesNaN())}, tmp_path)
    assert ended["it"].error == "AssertionError: token 0, head 0, dim 0: got 0.0, exact nan, allowed error 0"
    mean = OwesNaN()
    mean.contract = replace(OwesNaN.contract, blind="mean")  # type: ignore[misc]
    with pytest.raises(ScriptError, match="blind: 'mean'"):
        write_script(replace(CHUNK, block_tables=((-1, 1),), value_fill="ones"), "agrees_with_reference", mean)


def test_one_that_cannot_be_cut_out_says_so() -> None:
    """In one line: not at the top of a module."""

    class Local(SeesOneMore):
        more = 2

    with pytest.raises(ScriptError, match="Local: not at the top of"):
        write_script(CHUNK, "agrees_with_reference", Local())


def test_helpers_of_any_name(tmp_path: Path) -> None:
    """Such as the script has itself: they get others there, and what a local variable hides keeps its own."""
    text = write_script(CHUNK, "agrees_with_reference", OfTwoNames())
    assert "\ndef kernel_partial(" in text
    assert "+ kernel_partial(kernel_exact(tensors.q), same=kernel_wrong) + kernel_q" in text
    assert "    same = [call * 1 for call in (x, same)]\n" in text
    ended = run_isolated({"it": text}, tmp_path)["it"]
    assert ended.error.startswith("AssertionError: token "), ended


@pytest.mark.slow
@pytest.mark.parametrize(
    "problem", [replace(CHUNK, phase="decode", query_lens=(1,), slot_mapping=(2,)), CHUNK], ids=["decode", "chunked"]
)
def test_released_software_too(problem: Problem, tmp_path: Path) -> None:
    """With what our adapter of it stands on. A bound of nothing makes an honest answer wrong."""
    flex = Flex()
    flex.precision = EXACT  # type: ignore[misc]
    text = write_script(
        replace(problem, score_fill="normal", value_fill="normal", seed=3), "agrees_with_reference", flex
    )
    assert "from torch.nn.attention.experimental._paged_attention import PagedAttention" in text
    assert "def _make_pages(" in text
    assert run_isolated({"it": text}, tmp_path)["it"].error.startswith("AssertionError: token ")


DENSE = replace(CHUNK, phase="prefill", num_blocks=0, slot_mapping=(), block_tables=(), num_heads=4, num_kv_heads=2)
DENSE = replace(DENSE, head_dim=3, query_lens=(3, 3), key_lens=(5, 5), score_fill="normal", value_fill="normal", seed=2)
SCORINGS = {
    "plain": Scoring(),
    "scale": Scoring(scale=-0.5),
    "softcap": Scoring(softcap=0.25, window=2),
    "alibi": Scoring(alibi=True, sinks=True),
    "bool mask": Scoring(mask="bool", mask_axes="bqk"),
    "float mask": Scoring(mask="float", mask_axes="hk", softcap=2.0),
    "blind rows": Scoring(mask="bool", blind_rows=True),
    "blind beside a sink": Scoring(mask="float", blind_rows=True, sinks=True),
}


# Of distances, where all is seen, nothing is said.
CASES = {
    f"{name}, {alignment}": replace(DENSE, scoring=scoring, causal_alignment=alignment)
    for name, scoring in SCORINGS.items()
    for alignment in ("top_left", "bottom_right", "none")
    if not (alignment == "none" and (scoring.window or scoring.alibi))
}


# Over blocks of which one is nowhere, and without any.
BLOCKS = {"block_size": 2, "num_blocks": 6, "slot_mapping": (-1,) * 5, "block_tables": ((4, -1, 0, 2), (1, 3, 5, 9))}
RAGGED = replace(DENSE, query_lens=(2, 3), key_lens=(7, 5))
PHASES = {
    "prefill": RAGGED,
    "bottom-right": replace(RAGGED, causal_alignment="bottom_right"),
    "chunked": replace(RAGGED, phase="chunked", **BLOCKS),
    "decode": replace(RAGGED, phase="decode", query_lens=(1, 1), **BLOCKS | {"slot_mapping": (-1, -1)}),
}
PAGED = {
    f"{name}, {phase}": replace(problem, scoring=scoring)
    for phase, problem in PHASES.items()
    for name, scoring in SCORINGS.items()
    if not scoring.mask
}


@pytest.mark.parametrize(("problems", "backend"), [(CASES, Shifted()), (PAGED, Scored())], ids=["dense", "paged"])
def test_the_exact_answer_is_the_references(problems: dict[str, Problem], backend: Backend, tmp_path: Path) -> None:
    """Under everything that is done to scores: off by 1 it fails, as it is it passes."""
    texts = {case: write_script(problem, "agrees_with_reference", backend) for case, problem in problems.items()}
    mended = {f"mended {case}": text.replace("    wrong = 1.0", "    wrong = 0.0") for case, text in texts.items()}
    ended = run_isolated(texts | mended, tmp_path)
    for case in problems:
        assert ended[case].error.startswith("AssertionError: token "), (case, ended[case])
        assert ended[f"mended {case}"] == Ended("", "ok\n"), case


@pytest.mark.parametrize(
    "entry", [entry for entry in LEDGER if entry.finding and entry.finding.law], ids=attrgetter("name")
)
def test_findings_in_released_software_become_scripts(entry: Entry) -> None:
    """It was run as it was made; here, that it needs nothing of ours."""
    try:
        version(entry.package)
    except PackageNotFoundError:
        pytest.skip(f"{entry.package} is not installed")
    assert entry.finding is not None
    text = write_script(entry.finding, "", backend_named(entry.finding.backend))
    assert not re.search(r"^(from|import) (attn_core|verification|properties|tests)\b", text, re.M)
