"""FlexAttention's PagedAttention: a table of its own, and a mask that it converts."""

from __future__ import annotations

import pytest

from properties.laws.agreement import agrees_with_reference
from tests.verification.adapters.laws import NAMES, keeps_the_laws, slow_but_first
from verification.adapters.flex_paged import Paged
from verification.problem import Problem
from verification.problem.formats import FORMATS


@pytest.mark.parametrize("dtype", slow_but_first(FORMATS))
def test_keeps_the_laws(dtype: str) -> None:
    keeps_the_laws(Paged(), dtype, laws=(*NAMES, "cache_is_exact", "block_ids_do_not_matter", "a_chunk_is_its_decodes"))


def test_a_block_may_be_listed_again() -> None:
    """Its tokens count as often: `PagedAttention` alone, which knows one place of each page, gave 1 instead of 0.75."""
    tables = ((5, 3, 1, 1), (1, 5, 5, 5))
    problem = Problem(
        "decode", "float32", 1, 1, 1, (1, 1), (4, 3), 1, 6, (-1, -1), tables, value_fill="index", score_fill="normal"
    )
    assert agrees_with_reference(Paged(), problem)
