"""vLLM's paged attention on a processor, with all that it does to scores: dense batches that it is given in blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from verification.adapter import Batch, BatchedAdapter, promising
from verification.adapters.vllm_cpu import DTYPES, FLUSHING
from verification.adapters.vllm_kernels import Paged

_BLOCK = 32


class Scored(BatchedAdapter):
    """Models bring a scale, a softcap, slopes and sinks; a window of W is "the last W tokens", a query's own included.
    Queries are the last tokens of their contexts.
    """

    name = "vllm/cpu, scored"
    contract = promising(
        *DTYPES,
        phases=("prefill",),
        uniform=True,
        head_dims=(64, 80, 128),
        scoring=frozenset({"scale", "softcap", "window", "alibi", "sinks"}),
        alignments=("bottom_right",),
        undefined=frozenset({"queries and keys: Lq > Lk", "layout: strided"}),
    )
    precision = FLUSHING

    def attend(self, batch: Batch) -> Tensor:
        sequences, _, queries, _ = batch.q.shape
        heads, keys, dim = batch.k.shape[1:]
        columns = -(-keys // _BLOCK)
        empty = batch.k.new_zeros(sequences * columns, _BLOCK, heads, dim)
        cache = Paged(empty, empty)
        tables = torch.arange(sequences * columns).view(sequences, columns).flip(0)
        place = torch.arange(keys)
        slots = tables[:, place // _BLOCK] * _BLOCK + place % _BLOCK
        k, v, q = (x.transpose(1, 2).flatten(0, 1) for x in (batch.k, batch.v, batch.q))
        cache.store(k, v, slots.flatten())
        starts, contexts = torch.arange(sequences + 1) * queries, torch.full((sequences,), keys)
        sinks = batch.sinks
        if sinks is not None and sinks.dtype != torch.bfloat16:  # as `forward` does
            sinks = sinks.to(torch.float32)
        window = batch.window or -1
        out = cache.attend(q, starts, contexts, tables, batch.scale, window, batch.softcap, batch.slopes, sinks)
        return out.view(sequences, queries, *out.shape[1:]).transpose(1, 2)
