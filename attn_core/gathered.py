"""Vectorised decode: the keys and values of many sequences are gathered and attended to at once.

Hidden places are read from a place that their sequence does see. So the numbers in them are never multiplied, and do
not change the extremes of what is visible.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attn_core import eager
from attn_core.context import Context
from attn_core.metadata import HostMetadata
from attn_core.notices import check_extremes, ranges_are_watched, report_each_dropped

# Bytes of keys and values gathered at a time on a CPU: they are read again soon, and should still be in its cache then.
# One gather for a whole batch was four times slower.
_BYTES_AT_A_TIME = 8 * 2**20


class Layer(Protocol):
    """The part of the layer that a decode needs: sizes, cache, and the eager steps for numbers that are not finite."""

    num_kv_heads: int
    num_rep: int
    scale: float
    k_cache: Tensor
    v_cache: Tensor

    def _decode_attn(self, q: Tensor, context_lens: Tensor, block_tables: Tensor) -> Tensor: ...
    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor: ...


def decode(layer: Layer, q: Float[Tensor, "B H D"], context: Context, host: HostMetadata) -> Float[Tensor, "B H D"]:
    """Attend, with the one query of each sequence, to its context.

    On an accelerator the whole batch is one gather, and the host waits for nothing. On a CPU as many sequences are
    gathered at a time as fit its cache, and a call with numbers that the kernel cannot take uses the eager steps.
    """
    if q.device.type == "cpu":
        return _decode_on_host(layer, q, host["context_lens"], host["block_tables"])
    lengths, tables = cast(Tensor, context.context_lens), cast(Tensor, context.block_tables)
    block_size = layer.k_cache.shape[1]
    if lengths.device.type == "cpu":
        longest = int(lengths.max()) if len(q) else 0
    else:
        longest = context.max_seqlen_k or tables.shape[1] * block_size
    tables = tables[:, : -(-longest // block_size)].to(q.device, torch.int64)
    lengths = lengths.to(q.device, torch.int64)
    seen, k, v = _gather(layer, q, lengths, tables, longest)
    with eager.full_precision(q.device.type):
        attended = _attend_by_products(layer, q, k, v, seen).masked_fill(~seen.any(dim=1)[:, None, None], 0.0)
    extremes = _find_extremes(k, seen) if ranges_are_watched() else None
    _report(layer, q, lengths - seen.sum(dim=1), extremes)
    return attended.to(q.dtype)


def _decode_on_host(
    layer: Layer, q: Float[Tensor, "B H D"], lengths: Int[Tensor, "B"], tables: Int[Tensor, "B M"]
) -> Float[Tensor, "B H D"]:
    """Decode on a CPU, run by run.

    If a visible number or an output is not finite, the whole call takes the eager steps.
    """
    output = torch.zeros_like(q, memory_format=torch.contiguous_format)
    missing = lengths.clone()
    low, high = torch.zeros(2, len(q), dtype=torch.float64)
    with eager.full_precision("cpu"):
        for rows in _split_into_runs(lengths.tolist(), _count_token_bytes(layer, q)):
            longest = int(lengths[rows].max())
            seen, k, v = _gather(layer, q, lengths[rows], tables[rows], longest)
            sees = seen.any(dim=1)
            if not bool(sees.any()):
                continue
            missing[rows] -= seen.sum(dim=1)
            low[rows], high[rows] = _find_extremes(k, seen)
            attended = _attend_by_kernel(layer, q[rows].to(k.dtype), k, v, seen)
            usable = torch.isfinite(torch.stack([low[rows], high[rows]])).all() & torch.isfinite(attended[sees]).all()
            if not bool(usable & torch.isfinite(q[rows][sees]).all()):
                return layer._decode_attn(q, lengths, tables)
            output[rows] = attended.masked_fill(~sees[:, None, None], 0.0).to(q.dtype)
    _report(layer, q, missing, (low, high))
    return output


def _count_token_bytes(layer: Layer, q: Tensor) -> int:
    """Return the bytes of the keys and values of one token."""
    dtype = torch.promote_types(q.dtype, layer.k_cache.dtype)
    return 2 * layer.k_cache.shape[2] * layer.k_cache.shape[3] * dtype.itemsize


def _split_into_runs(lengths: list[int], token_bytes: int) -> Iterator[slice]:
    """Yield runs of sequences that are gathered together, each to the length of its longest."""
    start, longest = 0, 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > start and (i + 1 - start) * longest * token_bytes > _BYTES_AT_A_TIME:
            yield slice(start, i)
            start, longest = i, length
    if lengths:
        yield slice(start, len(lengths))


def _gather(
    layer: Layer, q: Tensor, lengths: Int[Tensor, "B"], tables: Int[Tensor, "B C"], longest: int
) -> tuple[Bool[Tensor, "B L"], Float[Tensor, "B L G D"], Float[Tensor, "B L G D"]]:
    """Return a mask of visible positions, and keys and values of ``longest`` positions or as many as the tables
    have.
    """
    num_blocks, size = layer.k_cache.shape[:2]
    tables = tables[:, : -(-longest // size)]
    in_cache = (tables >= 0) & (tables < num_blocks)
    offsets = torch.arange(size, device=q.device)
    slots = (tables.where(in_cache, 0)[:, :, None] * size + offsets).flatten(1)[:, :longest]
    positions = torch.arange(slots.shape[1], device=q.device)
    seen = (positions < lengths[:, None]) & in_cache.repeat_interleave(size, dim=1)[:, :longest]
    if seen.numel():
        first = seen.to(torch.uint8).argmax(dim=1, keepdim=True)
        slots = slots.where(seen, slots.gather(1, first))
    dtype = torch.promote_types(q.dtype, layer.k_cache.dtype)
    k, v = (_read_slots(cache, slots).to(dtype) for cache in (layer.k_cache, layer.v_cache))
    return seen, k, v


def _read_slots(cache: Float[Tensor, "N S G D"], slots: Int[Tensor, "B L"]) -> Float[Tensor, "B L G D"]:
    """Return the rows of ``cache`` in ``slots``.

    Selecting rows of a matrix is several times faster than indexing, but a cache with gaps is not a matrix of slots.
    """
    if cache.is_contiguous():
        return cache.view(-1, cache[0, 0].numel()).index_select(0, slots.flatten()).view(*slots.shape, *cache.shape[2:])
    return cache[slots // cache.shape[1], slots % cache.shape[1]]


def _find_extremes(k: Float[Tensor, "B L G D"], seen: Bool[Tensor, "B L"]) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest key number of each sequence, 0 where it sees no key."""
    if not k.numel():
        return k.new_zeros(len(k)), k.new_zeros(len(k))
    if k.device.type == "cpu":  # row by row: along a dim, torch takes thirty times as long for few long rows
        low, high = (torch.stack(each) for each in zip(*map(torch.aminmax, k), strict=True))
    else:
        low, high = torch.aminmax(k.flatten(1), dim=1)
    sees = seen.any(dim=1)
    return low.where(sees, 0), high.where(sees, 0)


def _attend_by_kernel(
    layer: Layer,
    q: Float[Tensor, "B H D"],
    k: Float[Tensor, "B L G D"],
    v: Float[Tensor, "B L G D"],
    seen: Bool[Tensor, "B L"],
) -> Float[Tensor, "B H D"]:
    """Attend to finite numbers by torch's kernel.

    The kernel makes 0 of a score that is NaN, and NaN of an Inf whose weight has vanished. The query heads of a group
    are rows of one head, so that its keys are read once.
    """
    groups = q.reshape(len(q), layer.num_kv_heads, layer.num_rep, -1)
    mask = None if bool(seen.all()) else seen[:, None, None]
    k_heads, v_heads = k.transpose(1, 2), v.transpose(1, 2)
    return scaled_dot_product_attention(groups, k_heads, v_heads, mask, scale=layer.scale).flatten(1, 2)


def _attend_by_products(
    layer: Layer,
    q: Float[Tensor, "B H D"],
    k: Float[Tensor, "B L G D"],
    v: Float[Tensor, "B L G D"],
    seen: Bool[Tensor, "B L"],
) -> Float[Tensor, "B H D"]:
    """Attend by the eager steps for a batch, in the accumulation dtype.

    Kernels that take a mask differ in what they make of NaN and Inf, and a test for NaN and Inf would make the host
    wait.
    """
    if not seen.numel():
        return torch.zeros_like(q)
    dtype = eager.accumulation_dtype(k.dtype)
    batch, length, groups, dims = k.shape
    queries = q.to(dtype).reshape(batch * groups, layer.num_rep, dims)
    keys, values = (x.to(dtype).transpose(1, 2).reshape(batch * groups, length, dims) for x in (k, v))
    hidden = ~seen.repeat_interleave(groups, dim=0)[:, None]
    scores = eager.attention_scores(queries, keys, layer.scale).masked_fill(hidden, -torch.inf)
    weights = scores.softmax(dim=-1).masked_fill(hidden, 0.0)
    return eager.weighted_values(weights, values).reshape(batch, groups * layer.num_rep, dims)


def _report(layer: Layer, q: Tensor, missing: Int[Tensor, "B"], extremes: tuple[Tensor, Tensor] | None) -> None:
    """Warn about queries and keys out of range, and about positions that are not in the cache."""
    layer._check_numeric_range(q, "decode_q")
    report_each_dropped([f"block_tables[{i}]" for i in range(len(q))], missing, layer.k_cache.shape[0])
    if extremes:
        check_extremes([f"decode_k_history_{i}" for i in range(len(q))], *extremes)
