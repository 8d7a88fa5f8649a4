"""Attention as nobody would run it: Python floats, one query, one head and one key at a time."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, sqrt

import torch
from torch import Tensor

from tests.attn_core.calls import Call, D, G, H, S

UNIT = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-24, torch.float64: 2**-53}


def tolerance(dtype: torch.dtype, exact: Tensor) -> Tensor:
    """One rounding to the dtype, and the noise of an accumulation in float32 (float64 for float64)."""
    noise = 2**-48 if dtype == torch.float64 else 2**-20
    return UNIT[dtype] * exact.abs() + noise


def prefill(call: Call, sees: Callable[[int, int, int, int], bool]) -> Tensor:
    """``[T, H*D]`` in float64. ``sees(a, b, Lq, Lk)``: query a of a sequence sees its key b."""
    context, rows = call.context, []
    ends_q, ends_k = context.cu_seqlens_q.tolist(), context.cu_seqlens_k.tolist()
    for i in range(len(ends_q) - 1):
        num_q, num_k = ends_q[i + 1] - ends_q[i], ends_k[i + 1] - ends_k[i]
        for a in range(num_q):
            seen = [ends_k[i] + b for b in range(num_k) if sees(a, b, num_q, num_k)]
            rows.append(_row(call.q[ends_q[i] + a], [call.k[b] for b in seen], [call.v[b] for b in seen]))
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), H * D)


def decode(call: Call) -> Tensor:
    """``[B, H*D]`` in float64, over what the caches hold now."""
    rows = []
    tables, caches = call.context.block_tables.tolist(), (call.layer.k_cache, call.layer.v_cache)
    for i, length in enumerate(call.context.context_lens.tolist()):
        seen = []
        for t in range(length):
            block = tables[i][t // S] if t // S < len(tables[i]) else -1
            if 0 <= block < len(caches[0]):
                seen.append((block, t % S))
        keys, values = ([cache[place] for place in seen] for cache in caches)
        rows.append(_row(call.q[i], keys, values))
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), H * D)


def _row(query: Tensor, keys: list[Tensor], values: list[Tensor]) -> list[float]:
    """One token's ``H*D`` numbers: head h asks kv head ``h // (H/G)``."""
    row = []
    for h in range(H):
        g = h // (H // G)
        row += _head(query[h].tolist(), [key[g].tolist() for key in keys], [value[g].tolist() for value in values])
    return row


def _head(query: list[float], keys: list[list[float]], values: list[list[float]]) -> list[float]:
    if not keys:
        return [0.0] * D
    scores = [sum(x * y for x, y in zip(query, key, strict=True)) / sqrt(D) for key in keys]
    weights = [exp(score - max(scores)) for score in scores]
    mixed = [sum(w * value[d] for w, value in zip(weights, values, strict=True)) for d in range(D)]
    return [x / sum(weights) for x in mixed]
