"""A chunked prefill: queries at the end of their contexts, all keys in the cache."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.verification.samples import CHUNKED, DECODE, with_numbers
from verification.backends.attn_core import AttnCore
from verification.backends.observe import observe
from verification.backends.token_by_token import TokenByToken, as_decodes
from verification.oracle.expectation import expect, sequences, store
from verification.oracle.judge import judge_output, successful_output
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.problem.describe import describe
from verification.problem.json_io import from_json, to_json
from verification.problem.reading import ProblemError
from verification.problem.table import given_to
from verification.problem.validate import check_problem
from verification.problem.visibility import has_blind_rows
from verification.reporting.pictures import picture
from verification.tensors.inputs import make_inputs

ONE_HEAD = Problem("chunked", "float32", 1, 1, 1, (2,), (4,), 2, 3, slot_mapping=(5, 1), block_tables=((0, 2),))


def test_each_query_sees_its_position_and_what_lies_before() -> None:
    """In blocks 0 and 2, the last two slots of which are being written: 5, and 1, which is position 1 again."""
    found = with_numbers(ONE_HEAD, q=[0, 0], k=[0, 0], v=[30, 10], k_cache=[0] * 6, v_cache=[2, 99, 99, 99, 6, 99])
    [sequence] = sequences(store(found))
    assert sequence.counts.tolist() == [3, 4]
    assert sequence.values.ravel().tolist() == [2, 10, 6, 30]
    assert expect(found, Precision()).exact.ravel().tolist() == [6, 12]


def test_what_a_lost_block_held_is_not_seen() -> None:
    """Nor do later positions move up; and without a query nothing is."""
    found = sequences(store(make_inputs(CHUNKED)))
    assert [sequence.counts.tolist() for sequence in found] == [[2, 3], [], [1]]
    assert [len(sequence.keys) for sequence in found] == [3, 0, 1]
    assert not has_blind_rows(CHUNKED)
    assert has_blind_rows(replace(CHUNKED, block_tables=((2, 0), (3, 3), (99, 99))))
    assert has_blind_rows(replace(CHUNKED, block_tables=((99, 0), (3, 3), (0, 1)), key_lens=(3, 2, 2)))


def test_as_decodes() -> None:
    """A sequence a query, each with the context up to its position, over the same numbers."""
    inputs = make_inputs(CHUNKED)
    found = as_decodes(inputs)
    check_problem(found.problem)
    assert found.problem.key_lens == (2, 3, 3) == tuple(found.context_lens)
    assert found.block_tables.tolist() == [[2, 0], [2, 0], [99, 1]]
    assert found.cu_seqlens_q.tolist() == [0, 1, 2, 3]
    one, other = (expect(x, Precision()) for x in (inputs, found))
    assert one.exact == pytest.approx(other.exact, rel=1e-14)


@pytest.mark.parametrize("problem", [CHUNKED, DECODE, ONE_HEAD, replace(CHUNKED, index_dtype="int32")])
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_token_by_token_is_right(problem: Problem, dtype: str) -> None:
    """By attn_core's decode, which knows no chunks."""
    inputs, backend = make_inputs(replace(problem, dtype=dtype)), TokenByToken(AttnCore())
    judge_output(successful_output(observe(backend, inputs)), expect(inputs, backend.precision))
    assert backend.contract.phases == ("decode", "chunked")
    assert not backend.contract.refuses
    assert (backend.name, backend.on("cuda").device) == ("attn_core/eager+chunks", "cuda")


def test_a_problem_of_it() -> None:
    """As JSON, in words, in its tensors, in a picture; and the fields that cannot be."""
    assert from_json(to_json(CHUNKED)) == CHUNKED
    assert check_problem(CHUNKED).num_tokens == 8 + 3
    assert CHUNKED.num_new_keys == CHUNKED.num_queries == 3
    assert given_to(CHUNKED)[5:] == (
        "slot_mapping",
        "cu_seqlens_q",
        "context_lens",
        "block_tables",
    )
    assert "sequence 0: context 3, 2 of it new, blocks [2, 0]" in describe(CHUNKED)
    drawn = picture(CHUNKED, None)
    assert [context.title for context in drawn.contexts][:2] == [
        "sequence 0: context 3, 2 of it new",
        "sequence 1: context 2, 0 of it new",
    ]
    assert drawn.contexts[0].stored == "slot 5, which is block 2 at 1; slot 0, which is block 0 at 0"
    for changes, field in (
        ({"query_lens": (4, 0, 1), "slot_mapping": (5, 0, 3, 1, 2)}, "query_lens"),
        ({"slot_mapping": (5, 0)}, "slot_mapping"),
        ({"block_tables": ()}, "block_tables"),
        ({"num_blocks": 0, "slot_mapping": ()}, "num_blocks"),
        ({"causal_alignment": "none"}, "causal_alignment"),
    ):
        with pytest.raises(ProblemError, match=field):
            check_problem(replace(CHUNKED, **changes))  # type: ignore[arg-type]
