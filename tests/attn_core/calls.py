"""One call of a layer, ready to run: the geometry is fixed, lengths, dtype and device are the test's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from attn_core import Attention, Context, attention_context

H, G, D, S = 4, 2, 8, 4  # query heads, kv heads, head dimension, block size
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Call:
    """A layer, the engine's context and the tokens."""

    layer: Attention
    context: Context
    q: Tensor
    k: Tensor
    v: Tensor

    def run(self) -> Tensor:
        with attention_context(self.context):
            return self.layer(self.q, self.k, self.v)

    def but(self, **changes: Any) -> Call:
        """The same call with some of ``q``, ``k``, ``v`` or of the context's fields replaced."""
        tokens = {name: value for name, value in changes.items() if name in ("q", "k", "v")}
        fields = {name: value for name, value in changes.items() if name not in tokens}
        return replace(self, **tokens, context=replace(self.context, **fields))

    def cache_bits(self) -> tuple[bytes, bytes]:
        return bits(self.layer.k_cache), bits(self.layer.v_cache)


def bits(x: Tensor) -> bytes:
    """Its bytes: unlike ``==`` they tell -0 from 0, and a NaN is equal to itself."""
    return x.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if x.numel() else b""


def prefill_call(
    lengths_q: Sequence[int],
    lengths_k: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    num_blocks: int | None = None,
    device: str = "cpu",
    **options: Any,
) -> Call:
    """Slots 0, 1, 2, ... where there is a cache; it is allocated by the call."""
    starts_q, starts_k = (_starts(lengths) for lengths in (lengths_q, lengths_k or lengths_q))
    tokens_q, tokens_k = int(starts_q[-1]), int(starts_k[-1])
    slots = None if num_blocks is None else torch.arange(tokens_k)
    context = Context(True, starts_q, starts_k, slot_mapping=slots, num_kvcache_blocks=num_blocks)
    return Call(_layer(device, **options), context, *_tokens(tokens_q, tokens_k, dtype, device))


def decode_call(
    context_lens: Sequence[int],
    dtype: torch.dtype = torch.float32,
    cache_dtype: torch.dtype | None = None,
    device: str = "cpu",
    **options: Any,
) -> Call:
    """A filled cache with two blocks to spare; every sequence owns its blocks, highest first, padded with -1."""
    needed = [-(-length // S) for length in context_lens]
    free = iter(range(sum(needed) + 1, -1, -1))
    tables = [[next(free) for _ in range(count)] for count in needed]
    ends = zip(tables, context_lens, strict=True)
    slots = [table[-1] * S + (length - 1) % S if length else -1 for table, length in ends]
    width = max(needed, default=0)
    padded = torch.tensor([table + [-1] * (width - len(table)) for table in tables]).reshape(len(tables), width).long()
    layer = _layer(device, **options)
    generator = torch.Generator().manual_seed(1)
    for name in ("k_cache", "v_cache"):
        cache = torch.randn(sum(needed) + 2, S, G, D, generator=generator, dtype=torch.float64)
        setattr(layer, name, cache.to(device, cache_dtype or dtype))
    context = Context(
        slot_mapping=torch.tensor(slots).long(), context_lens=torch.tensor(context_lens).long(), block_tables=padded
    )
    return Call(layer, context, *_tokens(len(slots), len(slots), dtype, device))


def _layer(device: str, **options: Any) -> Attention:
    return Attention(**{"num_heads": H, "head_dim": D, "num_kv_heads": G, "block_size": S, **options}).to(device)


def _tokens(tokens_q: int, tokens_k: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((tokens_q, H, D), (tokens_k, G, D), (tokens_k, G, D))
    q, k, v = (torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype) for shape in shapes)
    return q, k, v


def _starts(lengths: Sequence[int]) -> Tensor:
    return torch.tensor([sum(lengths[:i]) for i in range(len(lengths) + 1)])
