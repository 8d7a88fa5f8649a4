"""Decode by FlexAttention, which reads the paged cache in place; compiled on CUDA together with the store.

Batches are padded to one of a few sizes; the width of the tables and the number of blocks may change freely. So the
step is compiled a handful of times, whatever the engine does.
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

# Steps are compiled for batches of up to 8 sequences, 64, 512 and so on, and smaller batches are padded: factors of 8
# keep the compiled functions few.
SMALLEST_BATCH = 8
# ROWS rows of work keep a device busy, so a context is cut into ROWS / batch parts, but into LEAST_PARTS at least. A
# part has LEAST_TILES tiles at least: below, cutting costs more than it brings.
ROWS, LEAST_PARTS, LEAST_TILES = 512, 8, 16


class Layer(Protocol):
    """The part of the layer that a decode needs: its sizes, its cache and its range check."""

    num_heads: int
    scale: float
    k_cache: Tensor
    v_cache: Tensor

    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor: ...


def decode(layer: Layer, q: Float[Tensor, "B H D"], context: Context) -> Float[Tensor, "B H D"]:
    """Attend without compiling, for tests and for calls without a kernel: the tiles of the same parts are gathered."""
    lengths, tables = (cast(Tensor, x).to(q.device, torch.int64) for x in (context.context_lens, context.block_tables))
    if not tables.numel():
        output, lost = torch.zeros_like(q, memory_format=torch.contiguous_format), lengths
    else:
        # 4 parts of at least 2 tiles: few and small, so that the short contexts of tests are cut and merged as well.
        output, lost = attend_parts(q, lengths, tables, layer.k_cache, layer.v_cache, layer.scale, 4, 2)
    _report(layer, q, lost)
    return output


def step(
    layer: Layer, q: Float[Tensor, "B H D"], k: Float[Tensor, "B G D"], v: Float[Tensor, "B G D"], context: Context
) -> Float[Tensor, "B H D"]:
    """Store the new tokens and attend, compiled as one function; the host waits for nothing.

    The call must be one to which `attn_core.choice.explain_no_kernel` has no objection.
    """
    real, batch = len(q), SMALLEST_BATCH
    while batch < real:
        batch *= 8
    indices = (context.slot_mapping, context.context_lens, context.block_tables)
    slots, lengths, tables = (cast(Tensor, x).to(q.device) for x in indices)
    # A dimension of less than 2 would be compiled for apart. The tables are padded by -1, which is not in the cache.
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
    """Warn about queries out of range and about positions that are not in the cache."""
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
    """Store the new tokens; return the output, the positions missing of each context and the count of dropped slots."""
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
    """Store a few tokens as `store_kvcache` does, and return the number of dropped slots.

    The slots are compared with each other instead of sorted.
    """
    block_size = k_cache.shape[1]
    valid = valid_slots(slots, k_cache.shape[0] * block_size)
    token = torch.arange(len(slots), device=slots.device)
    # A token's writer is the last token of the same slot. A token that must not write repeats the write of the last
    # token that must.
    writer = token.where(torch.where(valid[:, None], slots[:, None] == slots, valid), -1).amax(dim=1)
    writes, writer = writer >= 0, writer.clamp(min=0)
    slot = slots[writer].where(writes, 0)  # if no token must write, slot 0 gets what it holds
    place, writes = (slot // block_size, slot % block_size), writes[:, None, None]
    for new, cached in ((k, k_cache), (v, v_cache)):
        cached[place] = new[writer].where(writes, cached[place])
    return ((slots != PADDING_SLOT) & ~valid).sum()
