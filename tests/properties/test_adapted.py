"""A paged kernel's violation as a script: its class, cut out, fails where nothing of ours can be imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from properties.laws import LAWS
from properties.recorded import script
from properties.run import fuzz
from tests.verification.isolated import run_isolated
from tests.verification.paged_kernel import OfTwoNames, OwesNaN, SeesOneMore
from verification.adapters.flex_paged import Paged as Flex
from verification.precision import Precision
from verification.problem import Problem
from verification.script.snippets import ScriptError

LAW = {law.name: law for law in LAWS}
EXACT = Precision("float64", "float64", "float64", "float64")
CHUNK = Problem("chunked", "float16", 1, 1, 1, (2,), (2,), 1, 3, (-1, -1), ((1, 2),), values="index")


@pytest.mark.parametrize("law", ["agrees_with_reference", "batch_does_not_matter", "a_chunk_is_its_decodes"])
def test_it_fails_by_its_assert_alone(law: str, tmp_path: Path) -> None:
    """And passes once the kernel is right."""
    _, broken, _ = fuzz(LAW[law], SeesOneMore(), "float16", 1, 60)
    assert broken is not None
    text = script(broken.problem, LAW[law], SeesOneMore())
    assert "verification" not in text.partition("import numpy")[2]
    mended = text.replace("    more = 1", "    more = 0")
    ended = run_isolated({"wrong": text, "mended": mended}, tmp_path)
    assert ended["wrong"].error.startswith("AssertionError: token "), ended["wrong"]
    assert (ended["mended"].error, ended["mended"].printed) == ("", "ok\n")


def test_it_reads_as_it_was_written() -> None:
    """Without what the class says of itself to us; what the code asks of a problem is given as plain data."""
    text = script(CHUNK, "agrees_with_reference", SeesOneMore())
    assert '\nclass Honest:\n    """A loop over sequences."""\n    # How many' in text
    assert '\nclass SeesOneMore(Honest):\n    """The diagonal lies one key too far."""\n    more = 1\n' in text
    assert "query_lens=(2,), block_size=1," in text
    assert "promising" not in text
    assert "somebody/paged, one more did on cpu" in text


def test_what_sees_nothing_is_as_promised(tmp_path: Path) -> None:
    """NaN, where that is; a mean no script knows."""
    nothing = replace(CHUNK, query_lens=(1,), key_lens=(1,), slot_mapping=(-1,), block_tables=((-1,),))
    ended = run_isolated({"it": script(nothing, "agrees_with_reference", OwesNaN())}, tmp_path)
    assert ended["it"].error == "AssertionError: token 0, head 0, dim 0: got 0.0, exact nan, allowed error 0"
    mean = OwesNaN()
    mean.contract = replace(OwesNaN.contract, blind="mean")  # type: ignore[misc]
    with pytest.raises(ScriptError, match="blind: 'mean'"):
        script(replace(CHUNK, block_tables=((-1, 1),), values="ones"), "agrees_with_reference", mean)


def test_one_that_cannot_be_cut_out_says_so() -> None:
    """In one line: not at the top of a module; what it needs comes under one name from two."""

    class Local(SeesOneMore):
        more = 2

    with pytest.raises(ScriptError, match="Local: not at the top of"):
        script(CHUNK, "agrees_with_reference", Local())
    with pytest.raises(ScriptError, match="partial: in two modules"):
        script(CHUNK, "agrees_with_reference", OfTwoNames())


@pytest.mark.parametrize(
    "problem", [replace(CHUNK, phase="decode", query_lens=(1,), slot_mapping=(2,)), CHUNK], ids=["decode", "chunked"]
)
def test_released_software_too(problem: Problem, tmp_path: Path) -> None:
    """With what our adapter of it stands on. A bound of nothing makes an honest answer wrong."""
    flex = Flex()
    flex.precision = EXACT  # type: ignore[misc]
    text = script(replace(problem, scores="normal", values="normal", seed=3), "agrees_with_reference", flex)
    assert "from torch.nn.attention.experimental._paged_attention import PagedAttention" in text
    assert "def _pages(" in text
    assert run_isolated({"it": text}, tmp_path)["it"].error.startswith("AssertionError: token ")
