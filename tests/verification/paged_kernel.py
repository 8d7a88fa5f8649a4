"""Somebody's kernel with a paged cache of its own, and what may be wrong in it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from verification.adapter import PagedAdapter, promising
from verification.materialize import Tensors
from verification.problem import Problem

_OPEN = ("slots: < -1", "slots: too large", "slots: past 32 bits", "slots: twice", "sequences: 0", "keys: 0")
_OPEN_TOO = ("blocks: -1", "blocks: < -1", "blocks: too large", "blocks: table too short", "poison around v: nan")
CONTRACT = promising("float16", "float32", undefined=frozenset(_OPEN + _OPEN_TOO), phases=("decode", "chunked"))


def gathered(cache: Tensor, table: Tensor, length: int, heads: int) -> Tensor:
    """``[H, L, D]``: one context."""
    pages = cache[table[: -(-length // cache.shape[1])].long()].flatten(0, 1)[:length]
    return pages.float().repeat_interleave(heads // cache.shape[2], dim=1).transpose(0, 1)


class Honest(PagedAdapter):
    """A loop over sequences."""

    name = "somebody/paged"
    contract = CONTRACT
    # How many keys more than it should a query sees.
    more = 0

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        k_cache, v_cache, slots = tensors.held("k_cache", "v_cache", "slot_mapping")
        contexts, tables = tensors.held("context_lens", "block_tables")
        for cache, new in ((k_cache, tensors.k), (v_cache, tensors.v)):
            held = slots >= 0
            cache[slots[held] // problem.block_size, slots[held] % problem.block_size] = new[held].to(cache.dtype)
        rows, out = tensors.q.split(list(problem.query_lens)), []
        for q, length, table in zip(rows, contexts.tolist(), tables, strict=True):
            heads = tensors.q.shape[1]
            k, v = (gathered(cache, table, length, heads) for cache in (k_cache, v_cache))
            out.append(self._one(q.float(), k, v, problem.scale).to(q.dtype))
        return torch.cat(out)

    def _one(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        hidden = torch.ones(len(q), k.shape[1], dtype=torch.bool).triu(k.shape[1] - len(q) + 1 + self.more)
        scores = (q.transpose(0, 1) @ k.mT * scale).masked_fill(hidden, -torch.inf)
        return (scores.softmax(dim=-1) @ v).transpose(0, 1)


class SeesOneMore(Honest):
    """The diagonal lies one key too far."""

    name = "somebody/paged, one more"
    contract = replace(CONTRACT, dtypes=("float16",))
    more = 1


class OwesNaN(PagedAdapter):
    """For what sees nothing; and gives 0."""

    name = "somebody/nothing"
    contract = replace(CONTRACT, undefined=frozenset(), blind="nan")

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(tensors.q)


def partial(x: Tensor) -> Tensor:
    """A script has another of this name."""
    return x[..., :1]


class OfTwoNames(Honest):
    name = "somebody/names"

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        return super().attend(problem, tensors) + partial(tensors.q)
