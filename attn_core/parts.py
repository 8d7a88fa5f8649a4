"""Attention over parts of contexts and their tails, merged by their log-sum-exps.

While a compiler traces this, FlexAttention reads the cache in place. Otherwise FlexAttention would compute the scores
of the whole cache, so the tiles are gathered instead: the unfused path over the whole cache cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention import flex_attention as flex
from torch.nn.functional import pad

from attn_core import eager
from attn_core.tiles import TILE, Parts, count_missing, cut_into_parts, find_tail, tile_size

# With 2 warps and 4 stages the kernel reads at 95 % of the copy speed of an H100 (docs/speed.md). "ieee": no TF32.
_KERNEL_OPTIONS: Any = {"num_warps": 2, "num_stages": 4, "FLOAT32_PRECISION": "'ieee'"}


class Part(NamedTuple):
    """Outputs of ``n`` rows and their log-sum-exps; a row that reads nothing has 0 and -Inf."""

    out: Float[Tensor, "n H D"]
    lse: Float[Tensor, "n H"]


def attend_parts(
    q: Float[Tensor, "B H D"],
    lengths: Int[Tensor, "B"],
    tables: Int[Tensor, "B M"],
    k_cache: Float[Tensor, "N S G D"],
    v_cache: Float[Tensor, "N S G D"],
    scale: float,
    num_parts: int,
    least_tiles: int,
) -> tuple[Float[Tensor, "B H D"], Int[Tensor, "B"]]:
    """Return the output, and the number of positions of each context that are not in the cache."""
    num_blocks, block_size = k_cache.shape[:2]
    work = cut_into_parts(lengths, tables, num_blocks, block_size, num_parts, least_tiles)
    seen, slots = find_tail(lengths, tables, num_blocks, block_size)
    place, hidden = (slots // block_size, slots % block_size), ~seen[:, :, None, None]
    k, v = (cached[place].masked_fill(hidden, 0) for cached in (k_cache, v_cache))
    queries = q.repeat_interleave(num_parts, dim=0)
    if torch.compiler.is_compiling():
        parts, end = _attend_in_place(queries, work, k_cache, v_cache, scale), _attend_tails(q, seen, k, v, scale)
    else:
        parts, end = _attend_gathered(queries, work, k_cache, v_cache, scale), _attend_by_products(q, seen, k, v, scale)
    return _merge(parts, end).to(q.dtype), count_missing(lengths, tables, num_blocks, block_size)


def _attend_in_place(
    q: Float[Tensor, "R H D"],
    work: Parts,
    k_cache: Float[Tensor, "N S G D"],
    v_cache: Float[Tensor, "N S G D"],
    scale: float,
) -> Part:
    """Attend to the parts by the kernel, with the cache as one long row of tiles."""
    keys, values = (x.flatten(0, 1).transpose(0, 1)[None] for x in (k_cache, v_cache))
    lists = work.counts.flatten()[:, None, None], work.tiles.flatten(0, 1)[:, None, None]
    return _run_kernel(q, keys, values, lists, scale, flex.noop_mask)


def _attend_tails(
    q: Float[Tensor, "B H D"],
    seen: Bool[Tensor, "B t"],
    k: Float[Tensor, "B t G D"],
    v: Float[Tensor, "B t G D"],
    scale: float,
) -> Part:
    """Attend to the tails by the kernel: one tile of each sequence, with zeros where nothing is visible."""

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return seen[batch, key]

    one = torch.ones(len(q), 1, 1, dtype=torch.int32, device=q.device)
    lists = one, torch.zeros_like(one)[..., None]
    return _run_kernel(q, k.transpose(1, 2), v.transpose(1, 2), lists, scale, sees)


def _run_kernel(
    q: Float[Tensor, "R H D"],
    keys: Float[Tensor, "_ G L D"],
    values: Float[Tensor, "_ G L D"],
    lists: tuple[Int[Tensor, "R 1 1"], Int[Tensor, "R 1 1 C"]],
    scale: float,
    mask: Callable[..., Tensor],
) -> Part:
    """Run FlexAttention over the tiles in ``lists``: for each row their number, and their indices."""
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
    # torch 2.9 has another name for the option that returns the log-sum-exp.
    lse: Any = {"return_aux": flex.AuxRequest(lse=True)} if hasattr(flex, "AuxRequest") else {"return_lse": True}
    options: Any = {"enable_gqa": True, "kernel_options": _KERNEL_OPTIONS, **lse}
    out, aux = flex.flex_attention(q[:, :, None], keys, values, block_mask=blocks, scale=scale, **options)
    return Part(out[:, :, 0], getattr(aux, "lse", aux)[:, :, 0])


def _attend_gathered(
    q: Float[Tensor, "R H D"],
    work: Parts,
    k_cache: Float[Tensor, "N S G D"],
    v_cache: Float[Tensor, "N S G D"],
    scale: float,
) -> Part:
    """Attend to the parts without a kernel, from gathered tiles."""
    tile = tile_size(k_cache.shape[1])
    places = work.tiles.to(torch.int64).flatten(0, 1)[:, :, None] * tile + torch.arange(tile, device=q.device)
    seen = torch.arange(places[0].numel(), device=q.device) < (work.counts * tile).flatten()[:, None]
    slots = places.flatten(1).where(seen, 0)
    place = slots // k_cache.shape[1], slots % k_cache.shape[1]
    k, v = (cached[place].masked_fill(~seen[:, :, None, None], 0) for cached in (k_cache, v_cache))
    return _attend_by_products(q, seen, k, v, scale)


def _attend_by_products(
    q: Float[Tensor, "R H D"],
    seen: Bool[Tensor, "R L"],
    k: Float[Tensor, "R L G D"],
    v: Float[Tensor, "R L G D"],
    scale: float,
) -> Part:
    """Attend by two products in the accumulation dtype; ``k`` and ``v`` must be zeros where nothing is visible."""
    dtype = eager.accumulation_dtype(q.dtype, k.dtype)
    queries = q.to(dtype).reshape(len(q), k.shape[2], -1, q.shape[2])
    scores = queries @ k.to(dtype).permute(0, 2, 3, 1) * scale
    scores = scores.masked_fill(~seen[:, None, None], -torch.inf)
    largest = scores.amax(dim=-1, keepdim=True)
    weights = (scores - largest.masked_fill(largest == -torch.inf, 0.0)).exp()
    total = weights.sum(dim=-1, keepdim=True)
    # Weights that are divided by their own sum add up to 1; divided by the exp of a rounded logarithm, not quite.
    out = weights @ v.to(dtype).transpose(1, 2) / total.masked_fill(total == 0, 1.0)
    return Part(out.flatten(1, 2), (largest + total.log()).flatten(1))


def _merge(parts: Part, end: Part) -> Float[Tensor, "B H D"]:
    """Merge the parts of each sequence with its tail by their log-sum-exps; zeros where a sequence reads nothing.

    The shares are summed as a column of ones beside the outputs. A compiler would compute them once more for a sum of
    its own, and may round a product there that it does not round here: with scores of -90,000 that is 0.4 %.
    """
    batch = len(end.lse)
    lse = parts.lse.view(batch, -1, *parts.lse.shape[1:])
    ours, last = (pad(part.out.to(lse.dtype), (0, 1), value=1.0) for part in (parts, end))
    largest = torch.maximum(lse.amax(dim=1), end.lse)
    largest = largest.masked_fill(largest == -torch.inf, 0.0)
    shares, share = (lse - largest[:, None]).exp(), (end.lse - largest).exp()
    summed = (shares[..., None] * ours.view(*lse.shape, -1)).sum(dim=1) + share[..., None] * last
    total = summed[..., -1:]
    merged: Tensor = summed[..., :-1] / total.masked_fill(total == 0, 1.0)
    return merged
