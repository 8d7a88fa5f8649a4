"""The table of tensors is complete, and says of each what a call is really given."""

from __future__ import annotations

from dataclasses import fields

import pytest

from properties.generate.strategies import problems, problems_within
from tests.properties.generated import over
from verification.adapters.written import EVERYTHING
from verification.problem import Problem
from verification.problem.table import CACHES, INDICES, NUMBERED, OUTPUTS, TENSORS, TOKENS, ByName, given_to
from verification.tensors.inputs import make_inputs
from verification.tensors.materialize import materialize


def test_a_field_for_each_row() -> None:
    """In the same order."""
    assert [field.name for field in fields(ByName)] == list(TENSORS)


def check(problem: Problem) -> None:
    """Shape and dtype of every tensor that the call is given, and None for the others."""
    inputs = make_inputs(problem)
    tensors = materialize(inputs, "cpu").tensors
    for name, row in TENSORS.items():
        tensor, array = getattr(tensors, name), getattr(inputs, name)
        assert (tensor is not None) == (name in given_to(problem))
        if tensor is not None:
            assert tuple(tensor.shape) == array.shape == row.shape(problem), name
            assert array.dtype == row.dtype(problem), name


@over(150, problems("bfloat16", ("prefill", "decode", "chunked")))
def test_rows_say_what_is_given(problem: Problem) -> None:
    """For every phase, with and without a cache."""
    check(problem)


@over(100, problems_within(EVERYTHING, "float16"))
def test_rows_of_masks_and_sinks(problem: Problem) -> None:
    """In every shape that broadcasts."""
    check(problem)


def test_groups_are_by_role() -> None:
    """As the layer is called."""
    assert (TOKENS, CACHES) == (("q", "k", "v"), ("k_cache", "v_cache"))
    assert (*TOKENS, *CACHES) == NUMBERED
    assert set(INDICES) == {"slot_mapping", "cu_seqlens_q", "cu_seqlens_k", "context_lens", "block_tables"}
    assert [row.stored_from for name, row in TENSORS.items() if name in CACHES] == ["k", "v"]


@pytest.mark.parametrize("row", TENSORS.values(), ids=TENSORS)
def test_a_row_says_when_it_is_absent(row: object) -> None:
    """Or is there in every call."""
    always = all(row.given(problem) for problem in (Problem("prefill", "float16", 1, 1, 1, (1,), (1,)),))  # type: ignore[attr-defined]
    assert bool(row.absent) or always  # type: ignore[attr-defined]
    assert row.meaning.endswith(".")  # type: ignore[attr-defined]


def test_outputs_have_a_row_for_each_query() -> None:
    """Sequences are cut along it."""
    assert all(row.axes[0] == "T" for row in OUTPUTS.values())
