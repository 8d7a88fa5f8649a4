"""Checks that refuse bad input before anything is written; every error names the argument, its value and the rule."""

from __future__ import annotations

from itertools import pairwise
from numbers import Integral
from typing import Any, NoReturn

import torch
from torch import Tensor

from attn_core.cache import PADDING_SLOT
from attn_core.context import EMPTY, Context
from attn_core.metadata import HostMetadata
from attn_core.overlap import overlap, overlaps_itself

# What q, k, v and the caches may be stored in.
COMPUTE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What slots, tables and lengths may be stored in: engines use either.
INDEX_DTYPES = (torch.int32, torch.int64)


def refuse(argument: str, value: Any, rule: str, error: type[Exception] = ValueError) -> NoReturn:
    """Raise ``error`` with the text ``argument: value (rule)``."""
    raise error(f"{argument}: {value} ({rule})")


def check_size(name: str, size: Any) -> None:
    """Raise unless ``size`` is an integer of at least 1. True is none, though Python counts with it."""
    if isinstance(size, bool) or not isinstance(size, Integral):
        refuse(name, repr(size), "must be an integer", TypeError)
    if size < 1:
        refuse(name, size, "must be at least 1")


def check_flag(name: str, flag: Any) -> None:
    """Raise TypeError unless ``flag`` is True or False: any text would be true."""
    if not isinstance(flag, bool):
        refuse(name, repr(flag), "must be True or False", TypeError)


def check_tokens(q: Any, k: Any, v: Any, num_heads: int, num_kv_heads: int, head_dim: int) -> None:
    """Raise unless ``q`` is ``[T, H, D]``, ``k`` and ``v`` are ``[T_k, G, D]``, of one floating dtype, on one
    device.
    """
    for name, tensor, heads in (("q", q, num_heads), ("k", k, num_kv_heads), ("v", v, num_kv_heads)):
        _check_tensor(name, tensor, COMPUTE_DTYPES)
        if tensor.dim() != 3 or tuple(tensor.shape[1:]) != (heads, head_dim):
            refuse(name, f"shape {tuple(tensor.shape)}", f"must be [tokens, {heads}, {head_dim}]")
        if tensor.dtype != q.dtype:
            refuse(name, tensor.dtype, f"must be q's dtype, {q.dtype}", TypeError)
        if tensor.device != q.device:
            refuse(name, f"device {tensor.device}", f"must be q's device, {q.device}")
    if v.shape != k.shape:
        refuse("v", f"shape {tuple(v.shape)}", f"must be k's shape, {tuple(k.shape)}")


def check_cache(k_cache: Any, v_cache: Any, q: Tensor, num_kv_heads: int, head_dim: int) -> None:
    """Raise unless both caches are ``[N, S, G, D]``, not empty, of one floating dtype and on ``q``'s device, and can be
    written: each element has a place of its own, and autograd does not stand in the way.

    ``S`` is the cache's own; the layer's ``block_size`` does not matter.
    """
    for name, cache in (("k_cache", k_cache), ("v_cache", v_cache)):
        _check_tensor(name, cache, COMPUTE_DTYPES)
        if cache.dim() != 4 or tuple(cache.shape[2:]) != (num_kv_heads, head_dim) or not cache.numel():
            refuse(name, f"shape {tuple(cache.shape)}", f"must be [blocks, block_size, {num_kv_heads}, {head_dim}]")
        if cache.device != q.device:
            refuse(name, f"device {cache.device}", f"must be q's device, {q.device}")
        if cache.requires_grad and torch.is_grad_enabled():
            refuse(name, "requires_grad=True", "must not require grad where gradients are recorded")
        if cache.is_inference() and not torch.is_inference_mode_enabled():
            refuse(name, "made in inference mode", "must be written in inference mode alone")
        if overlaps_itself(cache):
            refuse(name, f"strides {cache.stride()}", "must give each element a place of its own")
    if v_cache.shape != k_cache.shape:
        refuse("v_cache", f"shape {tuple(v_cache.shape)}", f"must be k_cache's shape, {tuple(k_cache.shape)}")
    if v_cache.dtype != k_cache.dtype:
        refuse("v_cache", v_cache.dtype, f"must be k_cache's dtype, {k_cache.dtype}", TypeError)
    if overlap(k_cache, v_cache):
        refuse("v_cache", "shares memory with k_cache", "must have memory of its own")


def check_phase(context: Context) -> None:
    """Raise unless a context is set, and says which phase this is."""
    if context is EMPTY:
        refuse("context", "none", "must be set in this thread or task: by attention_context, or by set_context")
    check_flag("is_prefill", context.is_prefill)


def check_context(context: Context, q: Tensor, k: Tensor, has_cache: bool) -> None:
    """Raise unless all that this phase reads has the right shape, dtype and device; `check_values` checks values."""
    if context.is_prefill:
        starts_q = _check_index("cu_seqlens_q", context.cu_seqlens_q, q, dims=1)
        starts_k = _check_index("cu_seqlens_k", context.cu_seqlens_k, q, dims=1)
        for name, starts in (("cu_seqlens_q", starts_q), ("cu_seqlens_k", starts_k)):
            if not len(starts):
                refuse(name, "empty", "must start with 0")
        if len(starts_k) != len(starts_q):
            rule = f"must have as many entries as cu_seqlens_q, {len(starts_q)}"
            refuse("cu_seqlens_k", f"{len(starts_k)} entries", rule)
    else:
        if not has_cache:
            refuse("k_cache", "empty", "a decode needs a cache: assign one or set num_kvcache_blocks")
        if len(k) != len(q):
            refuse("k", f"{len(k)} tokens", f"a decode has one token a sequence, and q has {len(q)}")
        context_lens = _check_index("context_lens", context.context_lens, q, dims=1)
        block_tables = _check_index("block_tables", context.block_tables, q, dims=2)
        for name, rows in (("context_lens", context_lens), ("block_tables", block_tables)):
            if len(rows) != len(q):
                refuse(name, f"{len(rows)} rows", f"must be one a sequence, and q has {len(q)}")
    if has_cache:
        slots = _check_index("slot_mapping", context.slot_mapping, q, dims=1)
        if len(slots) != len(k):
            refuse("slot_mapping", f"{len(slots)} slots", f"must be one a token, and k has {len(k)}")


def check_values(context: Context, metadata: HostMetadata, num_queries: int, num_keys: int, all_of_them: bool) -> None:
    """Raise unless ``cu_seqlens`` start at 0, never fall, end at the token count, and no ``context_lens`` is negative.

    Values on an accelerator are read only if ``all_of_them`` is true.
    """
    if not context.is_prefill:
        if all_of_them or metadata.on_host("context_lens"):
            lengths = metadata["context_lens"]
            if (lengths < 0).any():
                refuse("context_lens", lengths.tolist(), "must not be negative")
        return
    for name, tokens in (("cu_seqlens_q", num_queries), ("cu_seqlens_k", num_keys)):
        if all_of_them or metadata.on_host(name):
            starts = metadata[name].tolist()
            if starts[0] != 0:
                refuse(name, starts, "must start at 0")
            if any(later < earlier for earlier, later in pairwise(starts)):
                refuse(name, starts, "must never fall")
            if starts[-1] != tokens:
                refuse(name, starts, f"must end at the number of tokens, {tokens}")


def check_slots(metadata: HostMetadata, num_blocks: int, block_size: int) -> None:
    """Raise unless every slot is -1 or in the cache; for ``on_invalid="raise"``."""
    for slot in metadata["slot_mapping"].tolist():
        if slot != PADDING_SLOT and not 0 <= slot < num_blocks * block_size:
            refuse("slot_mapping", slot, f"must be -1 or in [0, {num_blocks * block_size})")


def check_blocks(context: Context, metadata: HostMetadata, num_blocks: int, block_size: int) -> None:
    """Raise unless every block that a context needs is in the table and in the cache; for ``on_invalid="raise"``."""
    if context.is_prefill:
        return
    tables = metadata["block_tables"].tolist()
    for i, (context_len, table) in enumerate(zip(metadata["context_lens"].tolist(), tables, strict=True)):
        if context_len > len(table) * block_size:
            refuse(f"context_lens[{i}]", context_len, f"the table holds {len(table)} blocks of {block_size}")
        for block in table[: -(-context_len // block_size)]:
            if not 0 <= block < num_blocks:
                refuse(f"block_tables[{i}]", block, f"must be in [0, {num_blocks})")


def _check_tensor(name: str, tensor: Any, dtypes: tuple[torch.dtype, ...]) -> None:
    """Raise TypeError unless ``tensor`` is a dense tensor of one of the dtypes."""
    if not isinstance(tensor, Tensor):
        refuse(name, type(tensor).__name__, "must be a tensor", TypeError)
    if tensor.layout is not torch.strided or tensor.is_nested:
        refuse(name, "nested" if tensor.is_nested else tensor.layout, "must be dense: torch.strided", TypeError)
    if tensor.dtype not in dtypes:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        refuse(name, tensor.dtype, f"must be one of {allowed}", TypeError)


def _check_index(name: str, tensor: Tensor | None, q: Tensor, dims: int) -> Tensor:
    """Return ``tensor``; raise unless it is an index tensor of ``dims`` dimensions on the host or ``q``'s device."""
    if tensor is None:
        refuse(name, None, "this phase needs it; the engine sets it in the context")
    _check_tensor(name, tensor, INDEX_DTYPES)
    if tensor.dim() != dims:
        refuse(name, f"shape {tuple(tensor.shape)}", f"must have {dims} dimension{'s' * (dims > 1)}")
    if tensor.device.type != "cpu" and tensor.device != q.device:
        refuse(name, f"device {tensor.device}", f"must be the host or q's device, {q.device}")
    return tensor
