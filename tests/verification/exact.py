"""Attention in 60 decimal digits, one number at a time, from the contract's words. Shares no code with the reference.

Visibility, grouped heads, slots, block tables and the store are all written out again here, as plain loops.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import mpmath
import torch
from mpmath import mpf

from verification.tensors.inputs import Inputs

mpmath.mp.dps = 60
Row = Any  # what one token holds: [heads, D]


def seen_by_each_query(inputs: Inputs) -> list[list[tuple[Row, Row]]]:
    """For every query token of the call, the keys and values that it sees, in order."""
    problem = inputs.problem
    seen = []
    if problem.phase == "prefill":
        start = 0
        for num_queries, num_keys in zip(problem.query_lens, problem.key_lens, strict=True):
            for a in range(num_queries):
                last = a + num_keys - num_queries if problem.causal_alignment == "bottom_right" else a
                seen.append([(inputs.k[start + b], inputs.v[start + b]) for b in range(num_keys) if b <= last])
            start += num_keys
        return seen
    held = _stored(inputs)
    for context_len, table in zip(problem.key_lens, problem.block_tables, strict=True):
        rows = []
        for t in range(context_len):
            column, offset = divmod(t, problem.block_size)
            if column < len(table) and 0 <= table[column] < problem.num_blocks:
                rows.append(held[table[column] * problem.block_size + offset])
        seen.append(rows)
    return seen


def exact_row(q: list[float], keys: list[list[float]], values: list[list[float]]) -> list[mpf]:
    """softmax(q k^T / sqrt(D)) v for one query of one head; zeros where it sees nothing."""
    if not keys:
        return [mpf(0)] * len(q)
    root = mpmath.sqrt(len(q))
    scores = [mpmath.fsum(mpf(x) * mpf(y) for x, y in zip(q, key, strict=True)) / root for key in keys]
    weights = [mpmath.exp(score - max(scores)) for score in scores]
    total = mpmath.fsum(weights)
    columns = zip(*values, strict=True)
    return [mpmath.fsum(w * mpf(x) for w, x in zip(weights, column, strict=True)) / total for column in columns]


def exact_output(inputs: Inputs) -> list[list[list[mpf] | None]]:
    """``[T][H][D]``; None for a row that has to do with a NaN or Inf."""
    problem = inputs.problem
    group = problem.num_heads // problem.num_kv_heads
    output: list[list[list[mpf] | None]] = []
    for token, rows in enumerate(seen_by_each_query(inputs)):
        heads: list[list[mpf] | None] = []
        for head in range(problem.num_heads):
            q = _floats(inputs.q[token][head])
            keys = [_floats(k[head // group]) for k, _ in rows]
            values = [_floats(v[head // group]) for _, v in rows]
            finite = all(map(isfinite, sum([*keys, *values], q)))
            heads.append(exact_row(q, keys, values) if finite else None)
        output.append(heads)
    return output


def _stored(inputs: Inputs) -> list[tuple[Row, Row]]:
    """The cache by slot once every token of the call is stored: the last one of equal slots stays."""
    caches = [list(cache.reshape(-1, *cache.shape[2:])) for cache in (inputs.k_cache, inputs.v_cache)]
    for token, slot in enumerate(inputs.problem.slot_mapping):
        if 0 <= slot < inputs.problem.num_slots:
            for cache, new in zip(caches, (inputs.k, inputs.v), strict=True):
                cache[slot] = _narrowed(new[token], inputs.problem.cache_format)
    return list(zip(*caches, strict=True))


def _narrowed(row: Row, dtype: str) -> Row:
    """Rounded to the cache's dtype by torch; the reference leaves that to NumPy."""
    if dtype == row.dtype.name:
        return row
    return torch.from_numpy(row).to(getattr(torch, dtype)).double().numpy()


def _floats(row: Row) -> list[float]:
    return [float(x) for x in row]
