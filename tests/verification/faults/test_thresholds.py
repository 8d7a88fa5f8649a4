"""Faults that show from some size on, or from some score down: wrong there, right one step before, in every format."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from verification.backends.observe import observe
from verification.faults import FAULTS
from verification.oracle.expectation import expect
from verification.oracle.judge import Violation, judge_output, successful_output
from verification.problem import Numbers
from verification.problem.formats import DTYPES
from verification.problem.validate import check_problem
from verification.records.findings import CORPUS, load
from verification.tensors.inputs import make_inputs

Changes = dict[str, Any]


def contexts(*lengths: int) -> Changes:
    """Return a batch of decodes of these lengths, all in one block."""
    each = len(lengths)
    batch = {
        "query_lens": (1,) * each,
        "key_lens": lengths,
        "slot_mapping": (-1,) * each,
        "block_tables": ((0,),) * each,
    }
    return {**batch, "block_size": max(lengths)}


def score_of(score: float) -> Changes:
    """Return numbers that give the one key of a decode this score."""
    return {"score_fill": "ones", "numbers": (Numbers("q", (1.0,)), Numbers("k_cache", (score,)))}


def heads(num_heads: int, num_kv_heads: int) -> Changes:
    return {"num_heads": num_heads, "num_kv_heads": num_kv_heads}


def row(*blocks: int) -> Changes:
    """Return one row of a block table."""
    return {"block_tables": (blocks,)}


# By fault, changes to its problem in the corpus: the fault is not seen before its threshold, and is seen behind it.
BEFORE: dict[str, tuple[Changes, ...]] = {
    "table-uint16": (row(2**16 - 1),),
    "table-wide-cut": ({"key_lens": (1024,)}, {"key_lens": (1024,), **row(*(0,) * 1023, 1)}),
    "table-capacity": (row(0), {"key_lens": (2,)}),
    "tile-key-lost": (contexts(1), contexts(128), contexts(130)),
    "split-remainder": (contexts(127), contexts(128), contexts(136)),
    "split-folds-batch": (contexts(511, *(0,) * 7), contexts(512, *(0,) * 6)),
    "grid-item-lost": (heads(132, 132), {**heads(32, 8), **contexts(*(1,) * 4)}),
    "softmax-max-zero": ({"key_lens": (128,)}, {"score_fill": "ones"}, {"causal_alignment": "bottom_right"}),
    "softmax-flushed": (score_of(-88),),
}
BEHIND: dict[str, tuple[Changes, ...]] = {
    "table-uint16": ({"num_blocks": 2**16 + 5, **row(2**16 + 4)},),
    "table-wide-cut": ({"key_lens": (1030,), **row(*(0,) * 1024, *(1,) * 6)},),
    "table-capacity": ({"key_lens": (0,), "poison": ("large", "large")}, {"block_size": 16, **row(0)}),
    "tile-key-lost": ({**contexts(257), "value_fill": "normal"}, contexts(0, 129)),
    "split-remainder": (contexts(135), contexts(3, 1023)),
    "split-folds-batch": (contexts(*(0,) * 9, 700, 1),),
    "grid-item-lost": ({**heads(32, 8), **contexts(*(1,) * 5)},),
    "softmax-max-zero": ({"key_lens": (200,)}, {"query_lens": (3,), "key_lens": (257,)}),
    "softmax-flushed": (score_of(-88.5),),
}


def judge(fault: str, changes: Changes, dtype: str) -> None:
    """Ask the backend with this fault. Raises Violation."""
    problem = replace(load(CORPUS / f"{fault}.json").problem, dtype=dtype, **changes)
    backend, inputs = FAULTS[fault].backend(), make_inputs(check_problem(problem))
    judge_output(successful_output(observe(backend, inputs)), expect(inputs, backend.precision))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fault", BEFORE)
def test_a_fault_shows_behind_its_threshold_alone(fault: str, dtype: str) -> None:
    """So a small problem cannot find it, nor one that is large in another direction."""
    for changes in BEFORE[fault]:
        judge(fault, changes, dtype)
    for changes in ({}, *BEHIND[fault]):
        with pytest.raises(Violation) as violation:
            judge(fault, changes, dtype)
        assert not violation.value.raised, changes
