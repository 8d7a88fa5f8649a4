"""Which implementation serves a call, and why not another."""

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
    """What is asked of the layer."""

    num_heads: int
    num_kv_heads: int
    implementation: Implementation
    k_cache: Tensor
    v_cache: Tensor


def choose(layer: Layer, q: Tensor, is_prefill: bool) -> str:
    """For ``"auto"``, on CUDA: compiled FlexAttention decodes wherever it has a kernel, and torch's own kernels, a call
    for each sequence, prefill: they are faster there. Anywhere else ``"sdpa"`` is.

    Why ``"auto"`` or ``"flex"`` does without FlexAttention's kernel is said once, at level INFO, by logger
    ``attn_core.implementation``; the record has ``chosen`` and ``reason``.
    """
    if layer.implementation in ("eager", "sdpa") or (layer.implementation == "auto" and is_prefill):
        return "eager" if layer.implementation == "eager" else "sdpa"
    reason = explain_no_kernel(layer, q, is_prefill)
    if not reason:
        return "flex"
    # Without its kernel FlexAttention is the slower of the two.
    chosen = "sdpa" if layer.implementation == "auto" else "flex, uncompiled"
    _log_once(chosen, reason)
    return chosen


def explain_no_kernel(layer: Layer, q: Tensor, is_prefill: bool) -> str:
    """Why FlexAttention has none for such a call; empty where it has."""
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
    LOG.info("%s is used: %s", chosen, reason, extra={"chosen": chosen, "reason": reason})
