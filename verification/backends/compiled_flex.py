"""Compiled FlexAttention, which compiles a kernel for every shape: so here it meets six shapes a dtype, and no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

# Heads are a batch of MOST_HEADS, queries and keys are padded to one of the LENGTHS: multiples of a block.
HEAD_DIMS = (16, 64, 128)
MOST_HEADS, LENGTHS, BLOCK = 16, (128, 640), 128


def flex_compiled(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """``[H, Lq, D]``. What is padded is hidden by counts, on the device, which are written anew for each call."""
    (heads, queries, dim), keys = q.shape, k.shape[1]
    room = next((length for length in LENGTHS if length >= max(queries, keys)), None)
    if room is None or heads > MOST_HEADS:
        raise ValueError(
            f"q: {heads} heads, {queries} queries, {keys} keys (must be at most {MOST_HEADS}, {LENGTHS[-1]})"
        )
    mask = _mask(room, q.device)
    mask.show(keys, causal)
    padded = []
    for x in (q, k, v):
        whole = x.new_zeros(MOST_HEADS, 1, room, dim)
        whole[:heads, 0, : x.shape[1]] = x
        padded.append(whole)
    out: Tensor = _compiled()(*padded, block_mask=mask.blocks, scale=scale)
    return out[:heads, 0, :queries]


@cache
def _compiled() -> Callable[..., Any]:
    """One function; its kernels for all dtypes, head dims and lengths stay."""
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 64)
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


@dataclass(frozen=True)
class _Mask:
    """``counts [L]``: how many keys each query sees, a prefix. ``blocks`` reads them, and skips blocks behind them."""

    counts: Tensor
    blocks: BlockMask

    def show(self, keys: int, causal: bool) -> None:
        """Of ``keys``, each query is to see all, or those up to itself."""
        length = len(self.counts)
        rows = torch.arange(1, length + 1, device=self.counts.device)
        self.counts.copy_(rows.clamp(max=keys) if causal else torch.full_like(rows, keys))
        # Counts rise, so the last row of a block of queries sees the most.
        most = self.counts.view(length // BLOCK, BLOCK)[:, -1]
        self.blocks.kv_num_blocks.copy_((most + BLOCK - 1) // BLOCK)


@cache
@torch.inference_mode(False)  # what is made in that mode cannot be written outside of it
def _mask(length: int, device: torch.device) -> _Mask:
    counts = torch.full((length,), length, dtype=torch.int32, device=device)
    blocks = length // BLOCK
    indices = torch.arange(blocks, dtype=torch.int32, device=device).expand(1, 1, blocks, blocks).contiguous()
    numbers = torch.full((1, 1, blocks), blocks, dtype=torch.int32, device=device)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return key < counts[query]

    mask = BlockMask.from_kv_blocks(numbers, indices, BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(length, length))
    return _Mask(counts, mask)
