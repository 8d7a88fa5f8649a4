"""`attn_core` in the place of nano-vLLM's own layer: its argument order, its context, its cache.

    python -m examples.nano_vllm

A model written for nano-vLLM imports `Attention`, `set_context`, `get_context` and `reset_context` from here. A prefill
behind a cached prefix is refused: there `cu_seqlens_k` counts keys that the call does not bring.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

import attn_core
from attn_core import get_context, reset_context, set_context
from examples.paged import Pages

__all__ = ["Attention", "get_context", "reset_context", "set_context"]


class Attention(attn_core.Attention):
    """The layer with nano-vLLM's arguments: the caller gives the scale, the assigned cache the block size."""

    def __init__(self, num_heads: int, head_dim: int, scale: float, num_kv_heads: int) -> None:
        super().__init__(num_heads, head_dim, num_kv_heads)
        self.scale = scale


def allocate(model: nn.Module, num_blocks: int, block_size: int) -> None:
    """Allocate one tensor and give a part of it to every module that has caches, as nano-vLLM's runner does it."""
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    shape = (num_blocks, block_size, layers[0].num_kv_heads, layers[0].head_dim)
    kv_cache = torch.full((2, len(layers), *shape), torch.nan, dtype=torch.float64)
    for i, layer in enumerate(layers):
        layer.k_cache, layer.v_cache = kv_cache[:, i]


def measure_largest_error(scale: float, lengths: tuple[int, ...] = (3, 17, 1), steps: int = 20) -> float:
    """Return the largest error of a prefill and ``steps`` decodes against dense attention.

    The calls are made by nano-vLLM's context. Everything is float64, so that an error is one of the convention.
    """
    # Small sizes; blocks of 4 tokens, so that every sequence grows through several of them.
    heads, head_dim, kv_heads = 4, 16, 2
    layer, pages = Attention(heads, head_dim, scale, kv_heads), Pages(len(lengths), num_blocks=24, block_size=4)
    allocate(nn.ModuleList([layer]), pages.num_blocks, pages.block_size)
    split = (heads, kv_heads, kv_heads)  # q, k and v come out of one projection
    generator = torch.Generator().manual_seed(0)
    sequences = [
        torch.randn(length + steps, sum(split), head_dim, generator=generator, dtype=torch.float64)
        for length in lengths
    ]

    step = pages.prefill(lengths)
    starts = step.cu_seqlens_q
    set_context(True, starts, starts, max(lengths), max(lengths), slot_mapping=step.slot_mapping)
    tokens = torch.cat([qkv[:length] for qkv, length in zip(sequences, lengths, strict=True)])
    read = [layer(*tokens.split(split, dim=1)).split(lengths)]
    reset_context()
    for _ in range(steps):
        tokens = torch.stack([qkv[length] for qkv, length in zip(sequences, pages.lengths, strict=True)])
        step = pages.decode()
        slots, tables = step.slot_mapping, step.block_tables
        set_context(False, slot_mapping=slots, context_lens=step.context_lens, block_tables=tables)
        read.append(layer(*tokens.split(split, dim=1)).split(1))
        reset_context()

    errors = []
    for qkv, *rows in zip(sequences, *read, strict=True):
        exact = attend_densely(*qkv.split(split, dim=1), scale)
        errors.append(float((torch.cat(rows).view_as(exact) - exact).abs().max()))
    return max(errors)


def attend_densely(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Return causal attention of one sequence, ``q [L, H, D]`` to ``k`` and ``v [L, G, D]``, without a cache."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    future = torch.ones(len(q), len(k), dtype=torch.bool).triu(diagonal=1)
    scores = (scale * torch.einsum("ahd,bhd->hab", q, k)).masked_fill(future, -torch.inf)
    return torch.einsum("hab,bhd->ahd", scores.softmax(dim=-1), v)


def main() -> int:
    """Print the largest error and return the exit code."""
    scale = 0.3  # 1/sqrt(head_dim) would be 0.25
    error = measure_largest_error(scale)
    print(f"scale {scale}: a prefill of 3 prompts and 20 decodes are within {error:.1g} of dense attention in float64")
    return 0 if error < 1e-12 else 1  # above the rounding of float64, far below an error of the convention


if __name__ == "__main__":
    sys.exit(main())
