"""`attn_core.Attention` as engines run it: replayed from a CUDA graph, or compiled."""

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
from verification.backends.attn_core import AttnCore, EngineCall, make_layer
from verification.backends.contract import Contract
from verification.backends.protocol import Backend, Call, NotPortable, Wrapped
from verification.problem import Problem
from verification.tensors.materialize import Tensors

_LOGGERS = ("attn_core.numeric_range", "attn_core.invalid_index")


@dataclass(frozen=True)
class Replayed(Wrapped):
    """The layer in a CUDA graph: a decode is captured with empty contexts, and replayed with the problem's numbers.

    Its contract has neither refusals nor events, since a captured call cannot fetch numbers from the device to look at
    them.
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
        layer = make_layer(problem, implementation=self.inner.implementation, check_values=False)
        return lambda tensors: _replay(layer, tensors)


def _replay(layer: Attention, tensors: Tensors) -> Tensor:
    """Return the output ``[T, H, D]`` of one replayed decode; caches are written in place."""
    given = (tensors.q, tensors.k, tensors.v, tensors.slot_mapping, tensors.context_lens, tensors.block_tables)
    q, k, v, slots, lengths, tables = static = [torch.zeros_like(cast(Tensor, x)) for x in given]
    slots.fill_(-1)
    tables.fill_(-1)
    context = Context(slot_mapping=slots, context_lens=lengths, block_tables=tables)
    caches = cast(Tensor, tensors.k_cache), cast(Tensor, tensors.v_cache)
    graph = torch.cuda.CUDAGraph()
    with attention_context(context), _silence():
        # The first call compiles and loads, which a capture does not allow: it comes before, on copies of the caches.
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
    """Drop the layer's warnings: the numbers that it is captured with are not the problem's."""
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
    """The layer compiled by `torch.compile`."""

    inner: AttnCore

    @property
    def name(self) -> str:
        return f"{self.inner.name}+compile"

    def prepare(self, problem: Problem) -> Call:
        layer = make_layer(problem, implementation=self.inner.implementation)
        layer.compile()  # in place, so that the engine's attributes stay where they are
        return EngineCall(layer, problem)
