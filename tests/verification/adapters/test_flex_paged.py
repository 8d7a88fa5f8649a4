"""FlexAttention's PagedAttention: a table of its own, and a mask that it converts."""

from __future__ import annotations

import pytest

from tests.verification.adapters.laws import NAMES, keeps_the_laws, slow_but_first
from verification.adapters.flex_paged import Paged
from verification.problem.formats import FORMATS


@pytest.mark.parametrize("dtype", slow_but_first(FORMATS))
def test_keeps_the_laws(dtype: str) -> None:
    keeps_the_laws(Paged(), dtype, laws=(*NAMES, "cache_is_exact", "block_ids_do_not_matter", "a_chunk_is_its_decodes"))
