"""Decode through FlexAttention, which reads the paged cache where it lies: compiled on CUDA, store and all.

A batch size is one of a few, the others are padded; how long a table is and how many blocks a cache has may change. So
whatever an engine does, it is compiled a handful of times.
"""

from __future__ import annotations

import logging
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attn_core import eager
from attn_core.cache import PADDING_SLOT, valid_slots
from attn_core.compiling import compile_for, mark_varying, pad
from attn_core.context import Context
from attn_core.notices import INDEX_LOG, report_dropped, report_each_dropped
from attn_core.parts import attend_parts

# Compiled for batches of up to so many sequences, eight times as many, and so on; smaller ones are padded.
SMALLEST_BATCH = 8
# Rows of work that keep a device busy, into how many parts a context of a large batch is cut all the same, and the
# fewest tiles of a part: below, cutting costs more than it brings.
ROWS, LEAST_PARTS, LEAST_TILES = 512, 8, 16


class Layer(Protocol):
    """What is asked of the layer: its sizes and its cache."""

    num_heads: int
    scale: float
    k_cache: Tensor
    v_cache: Tensor

    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor: ...


def decode(layer: Layer, q: Float[Tensor, "B H D"], context: Context) -> Float[Tensor, "B H D"]:
    """Uncompiled, for tests and for what has no kernel: the same parts, gathered."""
    lengths, tables = (cast(Tensor, x).to(q.device, torch.int64) for x in (context.context_lens, context.block_tables))
    if not tables.numel():
        output, lost = torch.zeros_like(q, memory_format=torch.contiguous_format), lengths
    else:
        output, lost = attend_parts(q, lengths, tables, layer.k_cache, layer.v_cache, layer.scale, 4, 2)
    _report(layer, q, lost)
    return output


def step(
    layer: Layer, q: Float[Tensor, "B H D"], k: Float[Tensor, "B G D"], v: Float[Tensor, "B G D"], context: Context
) -> Float[Tensor, "B H D"]:
    """A decode and the store before it, compiled in one, where `cannot_compile` has no objection. Nothing waits."""
    real, batch = len(q), SMALLEST_BATCH
    while batch < real:
        batch *= 8
    indices = (context.slot_mapping, context.context_lens, context.block_tables)
    slots, lengths, tables = (cast(Tensor, x).to(q.device) for x in indices)
    # A dimension of less than two would be compiled for itself. No block is in the cache that a table does not name.
    tables = mark_varying(pad(tables, batch, max(2, tables.shape[1]), value=-1), 1)
    tokens, lengths = [pad(x, batch) for x in (q, k, v)], pad(lengths, batch)
    slots = pad(slots, batch, value=PADDING_SLOT)
    caches = mark_varying(layer.k_cache, 0), mark_varying(layer.v_cache, 0)
    kinds = (x.dtype for x in (q, slots, lengths, tables))
    run = compile_for(_store_and_attend, batch, *q.shape[1:], *layer.k_cache.shape[1:], *kinds)
    with eager.no_autocast(q.device.type), torch.no_grad():
        output, lost, dropped = run(*tokens, *caches, slots, lengths, tables, layer.scale)
    report_dropped("slot_mapping", dropped, layer.k_cache.shape[0] * layer.k_cache.shape[1])
    _report(layer, q, lost)
    attended_to: Tensor = output if real == batch else output[:real]
    return attended_to


def _report(layer: Layer, q: Tensor, lost: Int[Tensor, "B"]) -> None:
    layer._check_numeric_range(q, "decode_q")
    if INDEX_LOG.isEnabledFor(logging.WARNING):
        names = [f"block_tables[{i}]" for i in range(len(q))]
        report_each_dropped(names, lost[: len(q)], layer.k_cache.shape[0])


def _store_and_attend(
    q: Float[Tensor, "B H D"],
    k: Float[Tensor, "B G D"],
    v: Float[Tensor, "B G D"],
    k_cache: Float[Tensor, "N S G D"],
    v_cache: Float[Tensor, "N S G D"],
    slots: Int[Tensor, "B"],
    lengths: Int[Tensor, "B"],
    tables: Int[Tensor, "B M"],
    scale: float,
) -> tuple[Float[Tensor, "B H D"], Int[Tensor, "B"], Int[Tensor, ""]]:
    """As `_attended`, and how many slots were dropped."""
    dropped = _store(k, v, k_cache, v_cache, slots.to(torch.int64))
    parts = max(LEAST_PARTS, ROWS // len(q))
    return *attend_parts(q, lengths.to(torch.int64), tables, k_cache, v_cache, scale, parts, LEAST_TILES), dropped


def _store(
    k: Float[Tensor, "B G D"],
    v: Float[Tensor, "B G D"],
    k_cache: Float[Tensor, "N S G D"],
    v_cache: Float[Tensor, "N S G D"],
    slots: Int[Tensor, "B"],
) -> Int[Tensor, ""]:
    """`store_kvcache` for a few tokens, which are compared with each other instead of sorted."""
    block_size = k_cache.shape[1]
    valid = valid_slots(slots, k_cache.shape[0] * block_size)
    token = torch.arange(len(slots), device=slots.device)
    # The last token of the same slot. Whoever must not write repeats the write of one that must: the last that does.
    writer = token.where(torch.where(valid[:, None], slots[:, None] == slots, valid), -1).amax(dim=1)
    writes, writer = writer >= 0, writer.clamp(min=0)
    slot = slots[writer].where(writes, 0)  # where nobody must, slot 0 gets what it holds
    place, writes = (slot // block_size, slot % block_size), writes[:, None, None]
    for new, cached in ((k, k_cache), (v, v_cache)):
        cached[place] = new[writer].where(writes, cached[place])
    return ((slots != PADDING_SLOT) & ~valid).sum()
