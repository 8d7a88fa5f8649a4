"""Small problems written by hand, and inputs with numbers written by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from verification.problem import Problem
from verification.tensors.inputs import Inputs, make_inputs

# Sequence 0 has three queries and three keys, sequence 1 one query and two keys, of which top-left shows it one.
PREFILL = Problem(
    phase="prefill",
    dtype="float16",
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    query_lens=(3, 1),
    key_lens=(3, 2),
    block_size=2,
    num_blocks=4,
    slot_mapping=(0, 1, 7, -1, 2),
    score_fill="normal",
    value_fill="normal",
    seed=7,
)
# Sequence 0 sees the slots 4, 5 and 0, sequence 1 the slots 2 and 3; each has just stored the last of them.
DECODE = Problem(
    phase="decode",
    dtype="float16",
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    query_lens=(1, 1),
    key_lens=(3, 2),
    block_size=2,
    num_blocks=4,
    slot_mapping=(0, 3),
    block_tables=((2, 0), (1, 99)),
    score_fill="normal",
    value_fill="normal",
    seed=7,
)

# Sequence 0 has two new tokens behind one that slot 4 holds, sequence 1 no queries, sequence 2 one, and a lost block.
CHUNKED = replace(
    DECODE,
    phase="chunked",
    query_lens=(2, 0, 1),
    key_lens=(3, 2, 3),
    slot_mapping=(5, 0, 3),
    block_tables=((2, 0), (3, 3), (99, 1)),
)


def one_head(dtype: str = "float16", queries: int = 1, keys: int = 1, head_dim: int = 1, **changes: Any) -> Problem:
    """One sequence, one head, no cache; bottom-right, so that the last query sees everything."""
    sizes = {"num_heads": 1, "num_kv_heads": 1, "head_dim": head_dim, "query_lens": (queries,), "key_lens": (keys,)}
    return Problem(**{"phase": "prefill", "dtype": dtype, "causal_alignment": "bottom_right", **sizes, **changes})


def with_numbers(problem: Problem, **arrays: Any) -> Inputs:
    """The problem's inputs, but for the named arrays."""
    inputs = make_inputs(problem)
    given = {name: np.asarray(array, getattr(inputs, name).dtype) for name, array in arrays.items()}
    return replace(inputs, **{name: array.reshape(getattr(inputs, name).shape) for name, array in given.items()})
