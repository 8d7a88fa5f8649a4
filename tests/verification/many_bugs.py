"""Kernels with several bugs that have nothing to do with each other, with one that hides all others, and with state."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tests.verification.paged_kernel import CONTRACT, Honest, gathered, store
from verification.adapter import DenseAdapter, PagedAdapter, Problem, Tensors, promising

HEADS, WINDOW, ONE_KEY = "heads", "window", "one key"


class Buggy(PagedAdapter):
    """A loop over sequences of a decode, with those bugs."""

    name = "somebody/buggy"
    contract = promising("float16", "float32", undefined=CONTRACT.undefined, phases=("decode",))
    bugs: ClassVar[frozenset[str]] = frozenset()

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        k_cache, v_cache = store(tensors)
        contexts, tables = tensors.held("context_lens", "block_tables")
        out = torch.empty_like(tensors.q)
        for i, (length, table) in enumerate(zip(self.seen(problem, contexts.tolist()), tables, strict=True)):
            heads, size = tensors.q.shape[1], problem.block_size
            k, v = (gathered(cache, table, length, heads) for cache in (k_cache, v_cache))
            if HEADS in self.bugs:  # head h reads kv head h % G
                order = torch.arange(heads) % k_cache.shape[2] * (heads // k_cache.shape[2])
                k, v = k[order], v[order]
            if WINDOW in self.bugs and length > size:  # it sees its first block no more
                k, v = k[:, size:], v[:, size:]
            weights = (tensors.q[i].float()[:, None] @ k.mT * problem.scale).softmax(dim=-1)
            row = (weights @ v)[:, 0]
            out[i] = torch.full_like(row, torch.nan) if ONE_KEY in self.bugs and length == 1 else row
        return out

    def seen(self, problem: Problem, lengths: list[int]) -> list[int]:  # noqa: ARG002
        """How many keys each sequence sees."""
        return lengths


class TwoBugs(Buggy):
    name = "somebody/two bugs"
    bugs = frozenset({HEADS, WINDOW})


class ThreeBugs(Buggy):
    name = "somebody/three bugs"
    bugs = frozenset({HEADS, WINDOW, ONE_KEY})


class Raises(Honest):
    """On everything."""

    name = "somebody/raises"

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        return self.plan(tensors)[problem.num_heads]

    def plan(self, tensors: Tensors) -> list[Tensor]:
        raise RuntimeError(f"no plan for {tensors.q.shape[0]} rows")


class RaisesForWideHeads(Honest):
    """And for others not; what is wrong besides shows as well."""

    name = "somebody/raises for wide heads"
    more = 1

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        if problem.head_dim > 16:
            raise ValueError(f"head_dim {problem.head_dim} on {tensors.q.shape[0]} rows")
        return super().attend(problem, tensors)


class Stale(Buggy):
    """The places of pages are those of the first call of a batch of that size."""

    name = "somebody/stale"

    def __init__(self) -> None:
        self.widths: dict[int, list[int]] = {}

    def seen(self, problem: Problem, lengths: list[int]) -> list[int]:
        widths = [-(-length // problem.block_size) for length in lengths]
        widths = self.widths.setdefault(len(widths), widths)
        return [min(length, width * problem.block_size) for length, width in zip(lengths, widths, strict=True)]


class ReturnsPair(PagedAdapter):
    """The output with its log-sum-exp, side by side."""

    name = "somebody/pair"
    contract = Buggy.contract

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:  # noqa: ARG002
        return tensors.q, tensors.q  # type: ignore[return-value]


class DenseStale(DenseAdapter):
    """No call sees more keys than its first call had."""

    name = "somebody/dense stale"
    contract = promising("float16", "float32")

    def __init__(self) -> None:
        self.keys: list[int] = []

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        self.keys.append(k.shape[1])
        scores = q.float() @ k.float().mT * scale
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1) & causal
        hidden[:, self.keys[0] :] = True
        return (scores.masked_fill(hidden, -torch.inf).softmax(dim=-1) @ v.float()).to(q.dtype)


class DenseReturnsPair(DenseAdapter):
    name = "somebody/dense pair"
    contract = promising("float16")

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:  # noqa: ARG002
        return q, v  # type: ignore[return-value]
