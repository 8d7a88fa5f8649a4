"""The choice of the implementation that serves a call, and the reasons against FlexAttention's kernel."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from attn_core.tiles import TILE

Implementation = Literal["eager", "sdpa", "flex", "auto"]
IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)
LOG = logging.getLogger("attn_core.implementation")


class Layer(Protocol):
    """The part of the layer that the choice depends on."""

    num_heads: int
    num_kv_heads: int
    implementation: Implementation
    k_cache: Tensor
    v_cache: Tensor


def choose(layer: Layer, q: Tensor, is_prefill: bool) -> str:
    """Return the implementation that serves a call: ``"eager"``, ``"sdpa"``, ``"flex"`` or ``"flex, uncompiled"``.

    On CUDA, ``"auto"`` decodes by compiled FlexAttention wherever it has a kernel, and prefills by torch's own kernels,
    one call for each sequence: each is the faster one there. Everywhere else ``"auto"`` is ``"sdpa"``.

    If ``"auto"`` or ``"flex"`` does without FlexAttention's kernel, logger ``attn_core.implementation`` gives the
    reason once, at level INFO; the record has ``chosen`` and ``reason``.
    """
    if layer.implementation in ("eager", "sdpa") or (layer.implementation == "auto" and is_prefill):
        return "eager" if layer.implementation == "eager" else "sdpa"
    reason = explain_no_kernel(layer, q, is_prefill)
    if not reason:
        return "flex"
    # Without its kernel FlexAttention is slower than "sdpa".
    chosen = "sdpa" if layer.implementation == "auto" else "flex, uncompiled"
    _log_once(chosen, reason)
    return chosen


def explain_no_kernel(layer: Layer, q: Tensor, is_prefill: bool) -> str:
    """Return the reason why FlexAttention has no kernel for such a call, or an empty text if it has one."""
    head_dim, group = q.shape[2], layer.num_heads // layer.num_kv_heads
    if q.device.type != "cuda":
        return f"FlexAttention is compiled for cuda, not for {q.device.type}"
    if not _has_triton():
        return "FlexAttention is compiled by triton, which is not installed"
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"FlexAttention's kernels take 16 or 32 bits, not {q.dtype}"
    if not 16 <= head_dim <= 256 or head_dim & (head_dim - 1):
        return f"FlexAttention's kernels take a head_dim of 16, 32, 64, 128 or 256, not {head_dim}"
    if is_prefill:
        return ""
    if group & (group - 1):
        return f"FlexAttention's decode takes groups of 1, 2, 4, 8... query heads, not {group}"
    if layer.k_cache.dtype != q.dtype:
        return f"FlexAttention takes one dtype, not {q.dtype} over a cache of {layer.k_cache.dtype}"
    if not (layer.k_cache.is_contiguous() and layer.v_cache.is_contiguous()):
        return "FlexAttention reads a cache without gaps"
    if layer.k_cache.shape[1] % TILE:
        return f"FlexAttention reads {TILE} tokens at a time: no multiple is a block of {layer.k_cache.shape[1]}"
    return ""


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


@cache
def _log_once(chosen: str, reason: str) -> None:
    """Log a choice and its reason; the cache lets each pair through once."""
    LOG.info("%s is used: %s", chosen, reason, extra={"chosen": chosen, "reason": reason})
