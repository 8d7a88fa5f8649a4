"""Decode through FlexAttention, which reads the paged cache where it lies: a block mask lists the tiles of each row.

Compiled on CUDA. Uncompiled, FlexAttention would compute the scores of the whole cache, so whatever runs this without
having compiled it gathers the tiles of each row first. That is asked where it is traced: the unfused path over the
whole cache cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention import flex_attention as flex

from attn_core import eager
from attn_core.cache import PADDING_SLOT, valid_slots
from attn_core.compiling import compiled, padded
from attn_core.context import Context
from attn_core.notices import report_dropped, report_each_dropped
from attn_core.tiles import TILE, Parts, cut, missing, tail, tile_size

# Compiled for batches of up to so many sequences, eight times as many, and so on; smaller ones are padded.
SMALLEST_BATCH = 8
# Rows of work that keep a device busy, into how many parts a context of a large batch is cut all the same, and the
# fewest tiles of a part: below, cutting costs more than it brings.
ROWS, LEAST_PARTS, LEAST_TILES = 512, 8, 16
# float32 means float32 here too: no TF32.
_KERNEL_OPTIONS: Any = {"num_warps": 2, "num_stages": 4, "FLOAT32_PRECISION": "'ieee'"}


class Layer(Protocol):
    """What is asked of the layer: its sizes and its cache."""

    num_heads: int
    scale: float
    k_cache: Tensor
    v_cache: Tensor

    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor: ...


class Part(NamedTuple):
    """Outputs of ``n`` rows and their log-sum-exps: 0 and -Inf where a row reads nothing."""

    out: Float[Tensor, "n H D"]
    lse: Float[Tensor, "n H"]


def decode(layer: Layer, q: Float[Tensor, "B H D"], context: Context) -> Float[Tensor, "B H D"]:
    """Uncompiled. What hidden places hold is never multiplied: tiles are read where they are seen as a whole, and the
    rest is computed apart.
    """
    lengths, tables = (cast(Tensor, x).to(q.device, torch.int64) for x in (context.context_lens, context.block_tables))
    if not tables.numel():
        attended, lost = torch.zeros_like(q, memory_format=torch.contiguous_format), lengths
    else:
        attended, lost = _attended(q, lengths, tables, layer.k_cache, layer.v_cache, layer.scale, 4, 2)
    _report(layer, q, lost)
    return attended


def step(
    layer: Layer, q: Float[Tensor, "B H D"], k: Float[Tensor, "B G D"], v: Float[Tensor, "B G D"], context: Context
) -> Float[Tensor, "B H D"]:
    """A decode and the store before it, compiled in one, where `cannot_compile` has no objection. Nothing waits."""
    real, batch = len(q), SMALLEST_BATCH
    while batch < real:
        batch *= 8
    indices = (context.slot_mapping, context.context_lens, context.block_tables)
    slots, lengths, tables = (cast(Tensor, x).to(q.device) for x in indices)
    # A dimension of less than two would be compiled for itself.
    tables = padded(tables, batch, max(2, tables.shape[1]))
    q_, k_, v_, lengths = (padded(x, batch) for x in (q, k, v, lengths))
    slots = padded(slots, batch, value=PADDING_SLOT)
    torch._dynamo.mark_dynamic(tables, 1)
    caches = layer.k_cache[:], layer.v_cache[:]
    for cached in caches:
        torch._dynamo.mark_dynamic(cached, 0)
    run = compiled(_step, q.dtype, batch, *q.shape[1:], *layer.k_cache.shape[1:])
    with eager.no_autocast(q.device.type), torch.no_grad():
        attended, lost, dropped = run(q_, k_, v_, *caches, slots, lengths, tables, layer.scale)
    report_dropped("slot_mapping", dropped, layer.k_cache.shape[0] * layer.k_cache.shape[1])
    _report(layer, q, lost[:real])
    output: Tensor = attended[:real]
    return output


def _report(layer: Layer, q: Tensor, lost: Int[Tensor, "B"]) -> None:
    layer._check_numeric_range(q, "decode_q")
    report_each_dropped([f"block_tables[{i}]" for i in range(len(q))], lost, layer.k_cache.shape[0])


def cannot_compile(layer: Layer, q: Tensor) -> str:
    """Why there is no kernel for this; empty where there is."""
    block_size, kv_heads, head_dim = layer.k_cache.shape[1:]
    group = layer.num_heads // kv_heads
    if q.device.type != "cuda":
        return f"FlexAttention is compiled on cuda, not on {q.device.type}"
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32) or layer.k_cache.dtype != q.dtype:
        return f"its kernels take one dtype, of 16 or 32 bits, not {q.dtype} over a cache of {layer.k_cache.dtype}"
    if not layer.k_cache.is_contiguous() or not layer.v_cache.is_contiguous():
        return "its kernels read a cache without gaps"
    if block_size % TILE:
        return f"its kernels read {TILE} tokens at a time, of which a block size of {block_size} is no multiple"
    if not 16 <= head_dim <= 256 or head_dim & (head_dim - 1):
        return f"its kernels take a head_dim of 16, 32, 64, 128 or 256, not {head_dim}"
    if group & (group - 1):
        return f"its decode kernel takes groups of 1, 2, 4, 8... query heads, not {group}"
    return ""


def _step(
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
    return *_attended(q, lengths.to(torch.int64), tables, k_cache, v_cache, scale, parts, LEAST_TILES), dropped


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


def _attended(
    q: Float[Tensor, "B H D"],
    lengths: Int[Tensor, "B"],
    tables: Int[Tensor, "B M"],
    k_cache: Float[Tensor, "N S G D"],
    v_cache: Float[Tensor, "N S G D"],
    scale: float,
    num_parts: int,
    least_tiles: int,
) -> tuple[Float[Tensor, "B H D"], Int[Tensor, "B"]]:
    """The output, and how many positions of each context are not in the cache."""
    num_blocks, block_size = k_cache.shape[:2]
    work = cut(lengths, tables, num_blocks, block_size, num_parts, least_tiles)
    seen, slots = tail(lengths, tables, num_blocks, block_size)
    place, hidden = (slots // block_size, slots % block_size), ~seen[:, :, None, None]
    k, v = (cached[place].masked_fill(hidden, 0) for cached in (k_cache, v_cache))
    queries = q.repeat_interleave(num_parts, dim=0)
    if torch.compiler.is_compiling():
        parts, end = _in_place(queries, work, k_cache, v_cache, scale), _of_tails(q, seen, k, v, scale)
    else:
        parts, end = _gathered(queries, work, k_cache, v_cache, scale), _by_products(q, seen, k, v, scale)
    return _merged(parts, end).to(q.dtype), missing(lengths, tables, num_blocks, block_size)


def _in_place(
    q: Float[Tensor, "R H D"],
    work: Parts,
    k_cache: Float[Tensor, "N S G D"],
    v_cache: Float[Tensor, "N S G D"],
    scale: float,
) -> Part:
    """The kernel, over the cache as one long row of tiles."""
    keys, values = (x.flatten(0, 1).transpose(0, 1)[None] for x in (k_cache, v_cache))
    lists = work.counts.flatten()[:, None, None], work.tiles.flatten(0, 1)[:, None, None]
    return _kernel(q, keys, values, lists, scale, flex.noop_mask)


def _of_tails(
    q: Float[Tensor, "B H D"],
    seen: Bool[Tensor, "B t"],
    k: Float[Tensor, "B t G D"],
    v: Float[Tensor, "B t G D"],
    scale: float,
) -> Part:
    """The kernel, over one tile of each sequence, zeros where nothing is seen."""

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return seen[batch, key]

    one = torch.ones(len(q), 1, 1, dtype=torch.int32, device=q.device)
    lists = one, torch.zeros_like(one)[..., None]
    return _kernel(q, k.transpose(1, 2), v.transpose(1, 2), lists, scale, sees)


def _kernel(
    q: Float[Tensor, "R H D"],
    keys: Float[Tensor, "_ G L D"],
    values: Float[Tensor, "_ G L D"],
    lists: tuple[Int[Tensor, "R 1 1"], Int[Tensor, "R 1 1 C"]],
    scale: float,
    mask: Callable[..., Tensor],
) -> Part:
    """FlexAttention over the tiles that are listed for each row: how many, and which."""
    blocks = flex.BlockMask(
        seq_lengths=(1, keys.shape[2]),
        kv_num_blocks=lists[0],
        kv_indices=lists[1],
        full_kv_num_blocks=None,
        full_kv_indices=None,
        q_num_blocks=None,
        q_indices=None,
        full_q_num_blocks=None,
        full_q_indices=None,
        BLOCK_SIZE=(128, TILE),
        mask_mod=mask,
    )
    # Its name changed in torch 2.9.
    lse: Any = {"return_aux": flex.AuxRequest(lse=True)} if hasattr(flex, "AuxRequest") else {"return_lse": True}
    options: Any = {"enable_gqa": True, "kernel_options": _KERNEL_OPTIONS, **lse}
    out, aux = flex.flex_attention(q[:, :, None], keys, values, block_mask=blocks, scale=scale, **options)
    return Part(out[:, :, 0], getattr(aux, "lse", aux)[:, :, 0])


def _gathered(
    q: Float[Tensor, "R H D"],
    work: Parts,
    k_cache: Float[Tensor, "N S G D"],
    v_cache: Float[Tensor, "N S G D"],
    scale: float,
) -> Part:
    """The same without a kernel, from tiles that are gathered."""
    tile = tile_size(k_cache.shape[1])
    places = work.tiles.to(torch.int64).flatten(0, 1)[:, :, None] * tile + torch.arange(tile, device=q.device)
    seen = torch.arange(places[0].numel(), device=q.device) < (work.counts * tile).flatten()[:, None]
    slots = places.flatten(1).where(seen, 0)
    place = slots // k_cache.shape[1], slots % k_cache.shape[1]
    k, v = (cached[place].masked_fill(~seen[:, :, None, None], 0) for cached in (k_cache, v_cache))
    return _by_products(q, seen, k, v, scale)


def _by_products(
    q: Float[Tensor, "R H D"],
    seen: Bool[Tensor, "R L"],
    k: Float[Tensor, "R L G D"],
    v: Float[Tensor, "R L G D"],
    scale: float,
) -> Part:
    """Two products in the accumulation dtype; ``k`` and ``v`` are zeros where nothing is seen."""
    dtype = eager.accumulation_dtype(q.dtype, k.dtype)
    queries = q.to(dtype).reshape(len(q), k.shape[2], -1, q.shape[2])
    scores = queries @ k.to(dtype).permute(0, 2, 3, 1) * scale
    scores = scores.masked_fill(~seen[:, None, None], -torch.inf)
    lse = scores.logsumexp(dim=-1, keepdim=True)
    out = (scores - lse.masked_fill(lse == -torch.inf, 0.0)).exp() @ v.to(dtype).transpose(1, 2)
    return Part(out.flatten(1, 2), lse.flatten(1))


def _merged(parts: Part, end: Part) -> Float[Tensor, "B H D"]:
    """The parts of each sequence and its tail, weighed by their log-sum-exps; zeros where there is nothing."""
    batch = len(end.lse)
    lse = parts.lse.view(batch, -1, *parts.lse.shape[1:])
    out = parts.out.view(*lse.shape, -1).to(lse.dtype)
    largest = torch.maximum(lse.amax(dim=1), end.lse)
    largest = largest.masked_fill(largest == -torch.inf, 0.0)
    shares, share = (lse - largest[:, None]).exp(), (end.lse - largest).exp()
    total = shares.sum(dim=1) + share
    summed = (shares[..., None] * out).sum(dim=1) + share[..., None] * end.out.to(lse.dtype)
    merged: Tensor = summed / total.masked_fill(total == 0, 1.0)[..., None]
    return merged
