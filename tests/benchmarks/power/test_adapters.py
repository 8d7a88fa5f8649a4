"""The page of sweeps: its numbers are the events', and what nobody explained is not published."""

from __future__ import annotations

import re

import pytest

from benchmarks.power.adapters import EXPLAINED, PAGE, make_page, put_again, tabulate_by_dtype, tabulate_by_law
from properties.run.worker import CORPUS
from verification.records.results import CellResult
from verification.reporting.events import Event, RoundEnded, RunEnded, RunStarted
from verification.reporting.summary import Summary

AGREES, LOGS = "agrees_with_reference", "logs_what_is_owed"


def sweep(name: str, *cells: tuple[str, str, int, int, float, str]) -> Summary:
    """Of law, dtype, problems, those outside, score and failure."""
    results = [
        CellResult(law, dtype, "cpu", name, problems, outside, score, failure=failure)
        for law, dtype, problems, outside, score, failure in cells
    ]
    events: list[Event] = [RunStarted("now", seed=7, examples=100), *map(RoundEnded, results), RunEnded(1.0, 0)]
    return Summary(events)


HOLDS = sweep(
    "jax/dot_product_attention",
    (CORPUS, "float16", 60, 4, 0.5, ""),
    (AGREES, "float16", 1000, 10, 0.875, ""),
    (AGREES, "float32", 1000, 20, 0.25, ""),
    (LOGS, "float16", 100, 100, 0.0, ""),
)
KNOWN = sweep(
    "onnxruntime/Attention", (AGREES, "float16", 50, 0, 0.75, ""), (AGREES, "float64", 3, 0, 0.1, "2 elements")
)


def test_rows_say_what_was_tried_and_what_was_not() -> None:
    half, single = tabulate_by_dtype(HOLDS.results)
    assert half == ("`jax/dot_product_attention`", "float16", "1,160", "110", "4", "1,046", "0.875", "-")
    assert single[2:] == ("1,000", "20", "0", "980", "0.250", "-")
    assert tabulate_by_dtype(KNOWN.results)[1][-1] == "1 of 1: 2"


def test_a_cell_that_another_breaks_is_counted() -> None:
    """Though no problem of its own was tried in it."""
    cells = [(AGREES, "float64", 3, 0, 0.1, "2 elements"), (LOGS, "float64", 0, 0, 0.0, "with agrees_with_reference")]
    assert tabulate_by_dtype(sweep("onnxruntime/Attention", *cells).results)[0][-1] == "2 of 2: 2"


def test_laws_say_what_broke_and_who_was_silent() -> None:
    laws = tabulate_by_law([*HOLDS.results, *KNOWN.results])
    assert laws == [
        (f"`{CORPUS}`", "0.500", "says nothing"),
        (f"`{AGREES}`", "0.875", "0.750, broken (2)"),
        (f"`{LOGS}`", "says nothing", "says nothing"),
    ]


def test_what_is_not_explained_is_no_page() -> None:
    """Nor is a run that verified nothing."""
    with pytest.raises(ValueError, match="must be explained"):
        make_page([sweep("jax/dot_product_attention", (AGREES, "float16", 9, 0, 0.1, "1 element"))])
    with pytest.raises(ValueError, match="must be a whole run"):
        make_page([sweep("jax/dot_product_attention", (LOGS, "float16", 9, 9, 0.0, ""))])
    page = make_page([HOLDS, KNOWN])
    assert "--examples 100 --seed 7" in page
    assert "| `jax/dot_product_attention` | 7 | 100 | 2,026 |" in page


def test_every_explanation_is_an_entry() -> None:
    headings = re.findall(r"^## (\d+)\. ", (PAGE.parent / "findings.md").read_text(), re.MULTILINE)
    assert {str(entry) for entry in EXPLAINED.values()} <= set(headings)


def test_sweeps_are_put_beside_earlier_ones() -> None:
    """Whose tables stay; a third sweep takes the place of a second one of its backend, and of no other."""
    first = make_page([HOLDS])
    second = sweep("jax/dot_product_attention", (AGREES, "float32", 9, 0, 0.75, ""))
    page = put_again(put_again(first, [second, KNOWN]), [HOLDS])
    assert "0.750 | 0.250" not in page
    assert page.startswith(first.rstrip())
    assert page.count("## Swept again") == 1
    rows = page.split("## Swept again")[1]
    assert "| `jax/dot_product_attention` | float32 | 100 a cell | 980 | 0.250 | 0.250 | - | - |" in rows
    assert "| `onnxruntime/Attention` | float64 | 100 a cell | 3 | 0.100 | not asked | 1 of 1: 2 | not asked |" in rows
