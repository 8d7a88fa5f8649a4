"""conch's three functions in torch, with its arguments: what an adapter hands over is checked where no Triton is."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from verification.adapters.conch import Operations


def reshape_and_cache(key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor) -> None:
    """Store each token at its slot; a negative one is padding."""
    assert slot_mapping.dtype == torch.int64
    for token, slot in enumerate(slot_mapping.tolist()):
        if slot >= 0:
            page, entry = divmod(slot, key_cache.shape[1])
            key_cache[page, entry], value_cache[page, entry] = key[token], value[token]


def paged_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    block_table: Tensor,
    seq_lens: Tensor,
    scale: float,
    softcap: float,
) -> Tensor:
    """Return attention of one query a sequence."""
    starts = torch.arange(len(query) + 1, dtype=torch.int32)
    longest = int(seq_lens.max())
    return varlen_attention(
        query, key_cache, value_cache, starts, 1, seq_lens, longest, block_table, scale, softcap, causal=True
    )


def varlen_attention(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    cu_seqlens_q: Tensor,
    max_seqlen_q: int,
    seq_lens: Tensor,
    max_seqlen_k: int,
    block_table: Tensor,
    scale: float,
    softcap: float,
    causal: bool,
) -> Tensor:
    """Return attention whose diagonal lies bottom-right, in float64 until it is returned."""
    assert causal
    assert {cu_seqlens_q.dtype, seq_lens.dtype, block_table.dtype} == {torch.int32}
    ends, contexts = cu_seqlens_q.tolist(), seq_lens.tolist()
    assert len(contexts) == len(ends) - 1 == len(block_table)
    lengths = [end - start for start, end in pairwise(ends)]
    assert (max_seqlen_q, max_seqlen_k) == (max(lengths), max(contexts))
    out, group = torch.zeros_like(query), query.shape[1] // key_cache.shape[2]
    for start, queries, context, table in zip(ends, lengths, contexts, block_table.long(), strict=False):
        pages = table[: -(-context // key_cache.shape[1])]
        k, v = (
            x[pages].flatten(0, 1)[:context].double().repeat_interleave(group, dim=1) for x in (key_cache, value_cache)
        )
        scores = scale * torch.einsum("qhd,khd->hqk", query[start : start + queries].double(), k)
        scores = softcap * (scores / softcap).tanh() if softcap else scores
        hidden = torch.ones(queries, context, dtype=torch.bool).triu(context - queries + 1)
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        out[start : start + queries] = torch.einsum("hqk,khd->qhd", weights, v).to(out.dtype)
    return out


STAND_IN = Operations(reshape_and_cache, paged_attention, varlen_attention)
