"""Rules of a valid problem that no single field can know."""

from __future__ import annotations

from math import prod

import numpy as np

from verification.problem import Problem
from verification.problem.misuse import MISUSES
from verification.problem.reading import INT64, ProblemError, shortened
from verification.problem.table import CACHES, TENSORS
from verification.problem.visibility import slots_in_window

# 8 GiB in float64, the format of the reference.
_MOST_ELEMENTS = 1 << 30


def check_problem(problem: Problem) -> Problem:
    """Return ``problem`` if its fields fit together. Raises ProblemError, naming a field and the rule it breaks."""

    def require(holds: bool, field: str, rule: str) -> None:
        if not holds:
            raise ProblemError(f"{field}: {shortened(getattr(problem, field))} (must {rule})")

    sequences, has_cache = len(problem.query_lens), problem.num_blocks > 0
    paged = problem.reads_cache
    require(problem.num_heads % problem.num_kv_heads == 0, "num_heads", "be a multiple of num_kv_heads")
    require(len(problem.key_lens) == sequences, "key_lens", f"have {sequences} entries, as query_lens")
    decode = problem.phase == "decode"
    require(not decode or set(problem.query_lens) <= {1}, "query_lens", "be 1 each in a decode")
    lengths = zip(problem.query_lens, problem.key_lens, strict=True)
    require(not paged or decode or all(q <= k for q, k in lengths), "query_lens", "be part of the contexts")
    require(not paged or has_cache, "num_blocks", "be positive where keys are read from the cache")
    slots = problem.num_new_keys if has_cache else 0
    require(len(problem.slot_mapping) == slots, "slot_mapping", f"have {slots} entries, one a new key in a cache")
    require(
        len(problem.block_tables) == sequences * paged, "block_tables", "have a row a sequence whose keys they find"
    )
    require(len({len(row) for row in problem.block_tables}) <= 1, "block_tables", "have rows of one length")
    low, high = (-(2**31), 2**31) if problem.index_dtype == "int32" else (-INT64, INT64)
    require(all(low <= slot < high for slot in problem.slot_mapping), "slot_mapping", f"fit {problem.index_dtype}")
    ids = (block for row in problem.block_tables for block in row)
    require(all(low <= block < high for block in ids), "block_tables", f"fit {problem.index_dtype}")
    elements = (problem.num_slots + problem.num_queries + problem.num_new_keys) * problem.head_dim * problem.num_heads
    require(elements <= _MOST_ELEMENTS, "num_blocks", "keep the tensors below 2^30 elements")
    pairs = sum(q * k for q, k in zip(problem.query_lens, problem.key_lens, strict=True)) * problem.num_heads
    require(pairs <= _MOST_ELEMENTS, "query_lens", "keep the scores below 2^30 elements")
    scoring = problem.scoring
    require(scoring.softcap >= 0, "scoring", "have a softcap of 0 or more")
    require(not scoring.mask or problem.is_uniform, "scoring", "have a mask over equal lengths alone, without a cache")
    require(bool(scoring.mask) or not scoring.blind_rows, "scoring", "have blind rows in a mask alone")
    require(not paged or problem.causal_alignment != "none", "causal_alignment", "be one where keys are in the cache")
    if problem.misuse:
        has_tokens = bool(problem.num_queries and problem.num_new_keys)
        applies = MISUSES[problem.misuse].applies(problem.phase, has_tokens, has_cache, problem.on_invalid)
        require(applies, "misuse", "be one for this phase, with tokens, a cache and on_invalid where it needs them")
    for given in problem.numbers:
        require(len(given.values) == _count_numbers(problem, given.tensor), "numbers", "be as many as the tensor holds")
    for special in problem.specials:
        *tokens, heads, dims = TENSORS[special.tensor].shape(problem)
        inside = special.row < prod(tokens) and special.head < heads and special.dim < dims
        require(inside, "specials", "lie inside their tensors")
    return problem


def is_valid(problem: Problem) -> bool:
    """Return True if `check_problem` accepts ``problem``."""
    try:
        check_problem(problem)
    except ProblemError:
        return False
    return True


def _count_numbers(problem: Problem, tensor: str) -> int:
    """Return how many `Numbers.values` the tensor takes."""
    shape = TENSORS[tensor].shape(problem)
    if tensor not in CACHES:
        return prod(shape)
    contexts = zip(problem.query_lens, problem.key_lens, problem.block_tables, strict=False)
    seen = (slots_in_window(problem, queries, keys, np.array(row)) for queries, keys, row in contexts)
    return len(set().union(*map(np.ndarray.tolist, seen))) * prod(shape[-2:])
