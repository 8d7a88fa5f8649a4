"""Chunked prefills by a backend that only decodes: each query is a decode, after all new tokens were stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from verification.backends.contract import Contract
from verification.backends.protocol import Call, Wrapped
from verification.problem import Problem
from verification.tensors.inputs import Inputs
from verification.tensors.materialize import Tensors


@dataclass(frozen=True)
class TokenByToken(Wrapped):
    """A backend whose decodes answer chunked prefills too.

    Its contract has neither refusals nor events, since ``inner`` would name other tensors than were handed over.
    """

    @property
    def name(self) -> str:
        return f"{self.inner.name}+chunks"

    @cached_property
    def contract(self) -> Contract:
        inner = self.inner.contract.in_phase("decode")
        return inner.in_all_phases(phases=("decode", "chunked"), refuses=False, range_events=False)

    def prepare(self, problem: Problem) -> Call:
        if problem.phase == "decode":
            return self.inner.prepare(problem)
        call = self.inner.prepare(_make_decodes(problem))
        return lambda tensors: call(self.expanded(tensors))

    def expanded(self, tensors: Tensors) -> Tensors:
        """Return the tensors of the decodes. Only the tensors are read for it, as in an engine."""
        starts, contexts, tables = tensors.held("cu_seqlens_q", "context_lens", "block_tables")
        queries = starts.diff()
        owner = torch.repeat_interleave(torch.arange(len(queries), device=starts.device), queries)
        place = torch.arange(len(owner), device=starts.device) - starts[:-1][owner]
        ends = (contexts - queries)[owner] + place + 1
        return replace(
            tensors,
            context_lens=ends.to(contexts.dtype),
            block_tables=tables[owner],
            cu_seqlens_q=None,
        )


def as_decodes(inputs: Inputs) -> Inputs:
    """Return the same queries over the same cache, as decodes: a sequence for each query."""
    problem = _make_decodes(inputs.problem)
    index = inputs.context_lens.dtype
    owner = np.repeat(np.arange(inputs.problem.num_sequences), inputs.problem.query_lens)
    return replace(
        inputs,
        problem=problem,
        cu_seqlens_q=np.arange(problem.num_sequences + 1, dtype=index),
        cu_seqlens_k=np.cumsum((0, *problem.key_lens)).astype(index),
        context_lens=np.array(problem.key_lens, index),
        block_tables=inputs.block_tables[owner],
    )


def _make_decodes(problem: Problem) -> Problem:
    """Return a decode with a sequence for each query of a chunked prefill."""
    lengths = list(zip(problem.query_lens, problem.key_lens, strict=True))
    rows = zip(problem.query_lens, problem.block_tables, strict=True)
    return replace(
        problem,
        phase="decode",
        query_lens=(1,) * problem.num_queries,
        key_lens=tuple(end for queries, keys in lengths for end in range(keys - queries + 1, keys + 1)),
        block_tables=tuple(row for queries, row in rows for _ in range(queries)),
    )
