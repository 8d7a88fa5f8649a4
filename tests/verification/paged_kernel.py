"""Somebody's kernel with a paged cache of its own, and what may be wrong in it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from verification.adapter import PagedAdapter, promising
from verification.problem import Problem
from verification.tensors.materialize import Tensors

_OPEN = ("slots: < -1", "slots: too large", "slots: past 32 bits", "slots: twice", "sequences: 0", "keys: 0")
_OPEN_TOO = ("blocks: -1", "blocks: < -1", "blocks: too large", "blocks: table too short", "poison around v: nan")
CONTRACT = promising("float16", "float32", undefined=frozenset(_OPEN + _OPEN_TOO), phases=("decode", "chunked"))


def store(tensors: Tensors) -> tuple[Tensor, ...]:
    """The caches, with the new tokens in those slots that are there; of equal ones the last is kept."""
    caches, (slots,) = tensors.held("k_cache", "v_cache"), tensors.held("slot_mapping")
    blocks, size = caches[0].shape[:2]
    for cache, new in zip(caches, (tensors.k, tensors.v), strict=True):
        for slot, token in zip(slots.tolist(), new, strict=True):
            if 0 <= slot < blocks * size:
                cache[slot // size, slot % size] = token
    return caches


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
        k_cache, v_cache = store(tensors)
        contexts, tables = tensors.held("context_lens", "block_tables")
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


class Scored(PagedAdapter):
    """Everything that may be done to scores, over a cache or without one; off by something."""

    name = "somebody/scored"
    contract = replace(
        CONTRACT,
        phases=("prefill", "decode", "chunked"),
        scoring=frozenset({"scale", "odd_scale", "softcap", "window", "alibi", "sinks"}),
        undefined=frozenset({"poison around v: nan"}),
    )
    wrong = 1.0

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        out, rules = tensors.q.double(), problem.scoring
        heads, size = out.shape[1], problem.block_size
        caches = store(tensors) if tensors.slot_mapping is not None else ()
        row, end = 0, 0
        for i, (queries, keys) in enumerate(zip(problem.query_lens, problem.key_lens, strict=True)):
            if tensors.block_tables is None:
                places, end = torch.arange(keys), end + keys
                k, v = (x[end - keys : end] for x in (tensors.k, tensors.v))
            else:
                blocks = tensors.block_tables[i].long().repeat_interleave(size)[:keys]
                places = torch.arange(len(blocks))[(blocks >= 0) & (blocks < problem.num_blocks)]
                k, v = (cache[blocks[places], places % size] for cache in caches)
            k, v = (x.double().repeat_interleave(heads // x.shape[1], dim=1).transpose(0, 1) for x in (k, v))
            at_end = tensors.block_tables is not None or problem.causal_alignment == "bottom_right"
            age = torch.arange(queries)[:, None] + (keys - queries if at_end else 0) - places
            scores = tensors.q[row : row + queries].double().transpose(0, 1) @ k.mT * problem.scale
            if rules.softcap:
                scores = rules.softcap * (scores / rules.softcap).tanh()
            if rules.alibi:
                scores = scores - 2.0 ** (-8 * (torch.arange(heads) + 1) / heads)[:, None, None] * age
            scores = scores.masked_fill((age < 0) | (age >= (rules.window or torch.inf)), -torch.inf)
            sinks = torch.full((heads,), -torch.inf) if tensors.sinks is None else tensors.sinks
            beside = sinks.double()[:, None, None].expand(*scores.shape[:-1], 1)
            weights = torch.cat([scores, beside], dim=-1).softmax(dim=-1).nan_to_num(0.0)[..., :-1]
            out[row : row + queries] = (weights @ v).transpose(0, 1)
            row += queries
        return (out + self.wrong).to(tensors.q.dtype)


# A script has others of these names.
q = 1
wrong: float = q


def exact(x: Tensor) -> Tensor:
    return x[..., :1]


def partial(x: Tensor, same: float) -> Tensor:
    same = [call * 1 for call in (x, same)]
    return same[0] + same[1]


class OfTwoNames(Honest):
    name = "somebody/names"

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        return super().attend(problem, tensors) + partial(exact(tensors.q), same=wrong) + q
