"""`attn_core.Attention` as engines run it: in a CUDA graph that was captured with other numbers, or compiled."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from attn_core import Attention, Context, attention_context
from verification.backends.attn_core import AttnCore, EngineCall, layer_for
from verification.backends.contract import Contract
from verification.backends.protocol import Backend, Call, NotPortable, Wrapped
from verification.problem import Problem
from verification.tensors.materialize import Tensors

_LOGGERS = ("attn_core.numeric_range", "attn_core.invalid_index")


@dataclass(frozen=True)
class Replayed(Wrapped):
    """A decode is captured with no slot, no length and no block, and replayed with those of the problem.

    A captured call can neither wait for numbers, to refuse them, nor fetch any, to warn of them.
    """

    inner: AttnCore

    @property
    def name(self) -> str:
        return f"{self.inner.name}+graph"

    @cached_property
    def contract(self) -> Contract:
        return self.inner.contract.in_all_phases(phases=("decode",), refuses=False, range_events=False)

    def on(self, device: str) -> Backend:
        if device != self.device:
            raise NotPortable(f"a CUDA graph does not run on {device}")
        return self

    def prepare(self, problem: Problem) -> Call:
        layer = layer_for(problem, implementation=self.inner.implementation, check_values=False)
        return lambda tensors: _replay(layer, tensors)


def _replay(layer: Attention, tensors: Tensors) -> Tensor:
    given = (tensors.q, tensors.k, tensors.v, tensors.slot_mapping, tensors.context_lens, tensors.block_tables)
    q, k, v, slots, lengths, tables = static = [torch.zeros_like(cast(Tensor, x)) for x in given]
    slots.fill_(-1)
    tables.fill_(-1)
    context = Context(slot_mapping=slots, context_lens=lengths, block_tables=tables)
    caches = cast(Tensor, tensors.k_cache), cast(Tensor, tensors.v_cache)
    graph = torch.cuda.CUDAGraph()
    with attention_context(context), _silence():
        # What is compiled or loaded at the first call is so before the capture, on caches of its own.
        layer.k_cache, layer.v_cache = (x.clone() for x in caches)
        new_stream: Any = torch.cuda.Stream
        stream = new_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            layer(q, k, v)
        torch.cuda.current_stream().wait_stream(stream)
        layer.k_cache, layer.v_cache = caches
        with torch.cuda.graph(graph):
            output: Tensor = layer(q, k, v)
    for x, numbers in zip(static, given, strict=True):
        x.copy_(cast(Tensor, numbers))
    graph.replay()
    return output.clone()


@contextmanager
def _silence() -> Iterator[None]:
    before = [(logger, logger.level) for logger in map(logging.getLogger, _LOGGERS)]
    for logger, _ in before:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in before:
            logger.setLevel(level)


@dataclass(frozen=True)
class Compiled(Wrapped):
    """The layer as `torch.compile` makes it."""

    inner: AttnCore

    @property
    def name(self) -> str:
        return f"{self.inner.name}+compile"

    def prepare(self, problem: Problem) -> Call:
        layer = layer_for(problem, implementation=self.inner.implementation)
        layer.compile()  # in place, so that the engine's attributes stay where they are
        return EngineCall(layer, problem)
