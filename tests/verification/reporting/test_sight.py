"""Drawings show what a query sees: behind a mask, a window, in a cache; and the numbers of a small call."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tests.verification.samples import CHUNKED, DECODE, PREFILL, one_head
from verification.oracle.difference import Element
from verification.problem import Numbers, Problem
from verification.problem.scoring import Scoring
from verification.reporting.draw import draw_problem
from verification.reporting.pictures import picture
from verification.reporting.sight import MASKED, SEEN, list_sights
from verification.reporting.values import list_values
from verification.tensors.inputs import make_inputs

# One sequence, two heads with a mask each; seed 1 hides some key from each.
DENSE = replace(one_head(queries=3, keys=4), num_heads=2, seed=1, score_fill="normal")


def drawn(problem: Problem, width: int = 100, wrong: Element | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(draw_problem(problem, wrong))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def masked(kind: str, axes: str = "bhqk") -> Problem:
    return replace(DENSE, scoring=Scoring(mask=kind, mask_axes=axes))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_masked_key_is_not_seen(kind: str) -> None:
    """Head by head; what causality hides is marked as that, whatever the mask says of it."""
    problem = masked(kind)
    mask = make_inputs(problem).mask
    assert mask is not None
    shown = mask if kind == "bool" else mask.astype(float) > -1e9
    hidden = 0
    for head in (0, 1):
        sights = list_sights(problem, 0, head, range(3), range(4))
        for query, sight in enumerate(sights):
            causal = [key <= query + 1 for key in range(4)]
            wanted = ["·" if not c else SEEN if shown[0, head, query, k] else MASKED for k, c in enumerate(causal)]
            assert sight.marks == "".join(wanted)
            assert sight.num_seen == wanted.count(SEEN)
            hidden += MASKED in wanted
            assert f"q{query}   {sight.marks}  sees {sight.num_seen} of 4" in drawn(problem, wrong=at(head))
    assert hidden
    assert "□ hidden by the mask; head 1" in drawn(problem, wrong=at(1))


def at(head: int) -> Element:
    return Element((("sequence", 0), ("token", 0), ("head", head), ("dim", 0)), 0.0, 1.0, 0.1)


def test_a_mask_that_is_one_for_all_heads() -> None:
    """No head is named; the page shows the same."""
    problem = masked("bool", "qk")
    assert "□ hidden by the mask)" in drawn(problem)
    shown = picture(problem, at(1))
    assert shown.marks == "■ seen, · hidden, □ hidden by the mask"
    rows = shown.grids[0].queries
    marks = [sight.marks for sight in list_sights(problem, 0, 0, range(3), range(4))]
    assert [[mark == MASKED for mark in row] for row in marks] == [row.masked for row in rows]
    assert [[mark == SEEN for mark in row] for row in marks] == [row.sees for row in rows]


@pytest.mark.parametrize("problem", [DECODE, CHUNKED], ids=["decode", "chunked"])
@pytest.mark.parametrize("window", [0, 1, 2, 3])
def test_what_lies_behind_the_window_of_a_context(problem: Problem, window: int) -> None:
    """It is not seen by any query, in the terminal and on the page."""
    problem = replace(problem, scoring=Scoring(window=window))
    size, contexts = problem.block_size, picture(problem, None).contexts
    for i, (queries, keys, table) in enumerate(
        zip(problem.query_lens, problem.key_lens, problem.block_tables, strict=True)
    ):
        if not queries:
            continue
        there = {p: table[p // size] * size + p % size for p in range(keys) if table[p // size] < problem.num_blocks}
        seen = {
            slot
            for p, slot in there.items()
            if any(at - (window or keys) < p <= at for at in range(keys - queries, keys))
        }
        slots = [slot for block in contexts[i].blocks for slot in block.slots]
        assert {int(slot.text) for slot in slots if slot.kind == "seen"} == seen
        assert {int(slot.text) for slot in slots if slot.kind == "behind"} == {*there.values()} - seen
    if window == 1:
        text = drawn(replace(DECODE, scoring=Scoring(window=1)))
        assert "block 2: slots 4-5 behind the window" in text
        assert "block 1: slots 2 behind the window, 3 seen" in text


def test_small_numbers_are_printed() -> None:
    """Mask and sinks always; q, k and v where they differ and the problem does not spell them out."""
    problem = replace(
        one_head(queries=1, keys=2, value_fill="index"), scoring=Scoring(mask="float", sinks=True), seed=3
    )
    inputs = make_inputs(problem)
    assert inputs.mask is not None
    assert inputs.sinks is not None
    lines = list_values(problem)
    assert [line.split()[0] for line in lines] == ["v", "mask", "sinks"]
    numbers = ", ".join(f"{float(x):g}" for x in inputs.mask.reshape(-1))
    assert lines[1] == f"mask [1, 1, 1, 2], added to the scores: [[[[{numbers}]]]]"
    assert lines[2] == f"sinks [1]: [{float(inputs.sinks[0]):g}]"
    assert list_values(replace(problem, numbers=(Numbers("v", (1.0, 2.0)),)))[0].startswith("mask")
    for line in lines:
        assert line in drawn(problem)
    assert picture(problem, None).numbers == lines
    bool_mask = replace(problem, scoring=Scoring(mask="bool"))
    assert any(line.startswith("mask [1, 1, 1, 2], 1 shows a key: [[[[1, ") for line in list_values(bool_mask))


def test_of_a_cache_what_is_seen_is_printed() -> None:
    small = replace(DECODE, num_heads=1, head_dim=1)
    lines = {line.split()[0]: line for line in list_values(small)}
    assert lines["k_cache"].startswith("k_cache [5, 1, 1] in the slots 0, 2, 3, 4, 5: [[[")
    assert not any("cache" in line for line in list_values(replace(PREFILL, head_dim=1)))


def test_large_numbers_are_not() -> None:
    """Nor made, where a cache is vast."""
    assert list_values(one_head(queries=300, keys=500, score_fill="normal")) == []
    assert list_values(replace(DECODE, num_blocks=2**15)) == []
    assert list_values(replace(PREFILL, misuse="q_list")) == []


@pytest.mark.parametrize("width", [60, 80])
def test_rows_fit_on_a_narrow_screen(width: int) -> None:
    """Fewer keys are drawn, and said to be."""
    text = drawn(one_head(queries=30, keys=200), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "...  sees 171 of 200" in text
    assert "200 keys" in text
