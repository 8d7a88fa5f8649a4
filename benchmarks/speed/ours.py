"""`attn_core.Attention`, with a row for each implementation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from attn_core import Attention, attention_context
from attn_core.choice import IMPLEMENTATIONS
from attn_core.notices import INDEX_LOG, RANGE_LOG
from benchmarks.speed.cases import Case, Size
from benchmarks.speed.contender import Contender, Prepared, count_padded_numbers


def list_ours() -> list[Contender]:
    """Return our contenders.

    They are quiet, so that nothing is asked of the device but the output; the one that chooses runs with all its checks
    too.
    """
    rows = [
        Contender(name, partial(_prepare, name, True), needs=partial(_count_extra_bytes, name), ours=True)
        for name in IMPLEMENTATIONS
    ]
    as_it_comes = Contender("auto, as it comes", partial(_prepare, "auto", False), ours=True)
    graph = Contender("auto, CUDA graph", _prepare_graph, phases=("decode",), cannot=_explain_unless_cuda, ours=True)
    return [*rows, as_it_comes, graph]


def _explain_unless_cuda(size: Size) -> str:
    """Return why a CUDA graph does not take a size, or an empty text if it does."""
    return "" if size.device == "cuda" else "CUDA graphs run on cuda"


def _prepare_graph(case: Case) -> Prepared:
    """Prepare a CUDA graph, as engines decode: what it replays costs the host nothing."""
    prepared, graph = _prepare("auto", True, case), torch.cuda.CUDAGraph()
    with _silenced():
        prepared.call()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            output = prepared.call()

    def replay() -> Tensor:
        graph.replay()
        return output

    return Prepared(replay)


def _prepare(implementation: str, quiet: bool, case: Case) -> Prepared:
    """Prepare the layer with one implementation; a quiet one neither checks values nor warns."""
    size = case.size
    layer = Attention(
        size.num_heads,
        size.head_dim,
        size.num_kv_heads,
        max(1, size.block_size),
        max_heads=size.num_heads,
        check_values=not quiet,
        implementation=implementation,  # type: ignore[arg-type]
    )
    if case.k_cache.numel():
        layer.k_cache, layer.v_cache = case.k_cache, case.v_cache

    def call() -> Tensor:
        with attention_context(case.context):
            output: Tensor = layer(case.q, case.k, case.v)
            return output

    if quiet:
        return Prepared(call, around=_silenced)
    return Prepared(call, "values checked, both loggers on")


@contextmanager
def _silenced() -> Iterator[None]:
    """Turn both loggers off for a ``with`` block."""
    logs = (RANGE_LOG, INDEX_LOG)
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


def _count_extra_bytes(implementation: str, size: Size) -> int:
    """Return the bytes that an implementation takes beside the case.

    Eager makes the scores of the longest sequence; a decode that gathers widens all keys and values, padded.
    """
    # About six tensors of float32 scores live at once; of gathered keys and values two copies in their own dtype and
    # three in float32.
    if size.phase == "prefill":
        return 6 * 4 * size.num_heads * max(size.lengths) ** 2 if implementation == "eager" else 0
    if implementation == "sdpa" and size.device != "cpu":
        return 2 * count_padded_numbers(size) * (2 * size.torch_dtype.itemsize + 3 * 4)
    return 0
