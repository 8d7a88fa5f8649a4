"""`attn_core` where nano-vLLM's own layer was: its argument order, its context, its cache.

    python -m examples.nano_vllm

A model written for nano-vLLM imports `Attention`, `set_context`, `get_context` and `reset_context` from here. A
prefill behind a cached prefix is refused: `cu_seqlens_k` counts keys there that the call does not bring.
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
    """The scale is the caller's; blocks are as large as those of the cache that the engine assigns."""

    def __init__(self, num_heads: int, head_dim: int, scale: float, num_kv_heads: int) -> None:
        super().__init__(num_heads, head_dim, num_kv_heads)
        self.scale = scale


def allocate(model: nn.Module, num_blocks: int, block_size: int) -> None:
    """As nano-vLLM's runner does it: one tensor, a part of it for every module that has caches."""
    layers = [module for module in model.modules() if hasattr(module, "k_cache") and hasattr(module, "v_cache")]
    heads, dims = layers[0].num_kv_heads, layers[0].head_dim
    kv_cache = torch.full((2, len(layers), num_blocks, block_size, heads, dims), torch.nan)
    for i, layer in enumerate(layers):
        layer.k_cache, layer.v_cache = kv_cache[:, i]


def dense(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """All queries ``[L, H, D]`` of a sequence over its keys and values ``[L, G, D]``, in float64."""
    q, k, v = q.double(), *(x.double().repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    scores = scale * torch.einsum("ahd,bhd->hab", q, k)
    future = torch.ones(len(q), len(q), dtype=torch.bool).triu(diagonal=1)
    return torch.einsum("hab,bhd->ahd", scores.masked_fill(future, -torch.inf).softmax(dim=-1), v)


def largest_error(scale: float, lengths: tuple[int, ...] = (3, 17, 1), steps: int = 20) -> float:
    """Of a prefill and ``steps`` decodes, told by nano-vLLM's context, against dense attention."""
    layer = Attention(4, 16, scale, 2)
    pages = Pages(len(lengths), num_blocks=24, block_size=4)
    allocate(nn.ModuleList([layer]), pages.num_blocks, pages.block_size)
    generator = torch.Generator().manual_seed(0)
    sequences = [
        [torch.randn(length + steps, heads, 16, generator=generator) for heads in (4, 2, 2)] for length in lengths
    ]

    step = pages.prefill(lengths)
    starts = step.cu_seqlens_q
    set_context(True, starts, starts, max(lengths), max(lengths), slot_mapping=step.slot_mapping)
    prompts = zip(*([x[:n] for x in tokens] for tokens, n in zip(sequences, lengths, strict=True)), strict=True)
    read = [list(layer(*map(torch.cat, prompts)).split(lengths))]
    reset_context()

    for _ in range(steps):
        now, step = list(pages.lengths), pages.decode()
        set_context(
            False, slot_mapping=step.slot_mapping, context_lens=step.context_lens, block_tables=step.block_tables
        )
        new = zip(*([x[n : n + 1] for x in tokens] for tokens, n in zip(sequences, now, strict=True)), strict=True)
        read.append(list(layer(*map(torch.cat, new)).split(1)))
        reset_context()

    outputs = [torch.cat(rows).view(-1, 4, 16) for rows in zip(*read, strict=True)]
    errors = [(out - dense(*tokens, scale)).abs().max() for out, tokens in zip(outputs, sequences, strict=True)]
    return float(torch.stack(errors).max())


def main() -> int:
    scale = 0.3  # 1/sqrt(head_dim) would be 0.25
    error = largest_error(scale)
    print(f"scale {scale}: a prefill of 3 prompts and 20 decodes are within {error:.1g} of dense attention in float64")
    return 0 if error < 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
