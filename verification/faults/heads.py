"""Faults in heads, head_dim and the scale."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_core import attention, eager
from verification.faults.planted import Original, swaps


def _power_of_two(head_dim: int) -> int:
    """Return the smallest power of two that is at least ``head_dim``."""
    return 1 << (head_dim - 1).bit_length()


@swaps(attention, "repeat_kv", "onnx/onnx#7274")
def gqa_tile(original: Original, x: Tensor, n_rep: int, max_heads: int) -> Tensor:
    """kv heads are tiled, not interleaved: head h reads kv head h % G."""
    return x.repeat(1, n_rep, 1)


@swaps(attention, "repeat_kv", "PSAL-POSTECH/ONNXim#34")
def gqa_div_kv_heads(original: Original, x: Tensor, n_rep: int, max_heads: int) -> Tensor:
    """Head h reads kv head h // G, not h // n_rep."""
    kv_heads = x.shape[1]
    return x[:, (torch.arange(kv_heads * n_rep) // kv_heads).clamp(max=kv_heads - 1)]


@swaps(eager, "attention_scores", "pytorch SDPA 2.3-2.4 on CPU")
def scale_after_fp16(original: Original, q: Tensor, k: Tensor, scale: float) -> Tensor:
    """q k is kept in float16 and scaled afterwards: past 65504 it is Inf."""
    return original(q, k, 1.0).half().to(q.dtype) * scale


@swaps(eager, "attention_scores")
def scale_bf16(original: Original, q: Tensor, k: Tensor, scale: float) -> Tensor:
    """The scale is rounded to bfloat16: wrong unless head_dim is a power of 4."""
    return original(q, k, torch.tensor(scale, dtype=torch.bfloat16).item())


@swaps(eager, "attention_scores")
def scale_twice(original: Original, q: Tensor, k: Tensor, scale: float) -> Tensor:
    """The scale is applied to q and to the scores."""
    return original(q * scale, k, scale)


@swaps(eager, "attention_scores", "intel/ipex-llm#12619")
def scale_padded_dim(original: Original, q: Tensor, k: Tensor, scale: float) -> Tensor:
    """The scale is that of the padded head size."""
    return original(q, k, _power_of_two(q.shape[-1]) ** -0.5)


@swaps(eager, "attention_scores", "triton-lang/triton#621")
def head_dim_pow2(original: Original, q: Tensor, k: Tensor, scale: float) -> Tensor:
    """Only as many dims are used as the largest power of two in head_dim."""
    used = 1 << (q.shape[-1].bit_length() - 1)
    return original(q[..., :used], k[..., :used], scale)
