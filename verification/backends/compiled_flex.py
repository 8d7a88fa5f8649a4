"""Compiled FlexAttention, padded to six shapes for each dtype, since a kernel is compiled for every shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

# Three head_dims times two lengths are the six shapes. Heads are a batch of MOST_HEADS, the most that the generators
# draw. Queries and keys are padded to one of LENGTHS: one block of FlexAttention's default size, or the five blocks
# that hold the longest sequence that is drawn (600 tokens).
HEAD_DIMS = (16, 64, 128)
MOST_HEADS, LENGTHS, BLOCK = 16, (128, 640), 128


def flex_compiled(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """Return the output ``[H, Lq, D]``. Padding is hidden by counts on the device, which each call writes anew.

    Raises ValueError for more heads or tokens than the padded shapes hold.
    """
    (heads, queries, dim), keys = q.shape, k.shape[1]
    room = next((length for length in LENGTHS if length >= max(queries, keys)), None)
    if room is None or heads > MOST_HEADS:
        raise ValueError(
            f"q: {heads} heads, {queries} queries, {keys} keys (must be at most {MOST_HEADS}, {LENGTHS[-1]})"
        )
    mask = _make_mask(room, q.device)
    mask.show(keys, causal)
    padded = []
    for x in (q, k, v):
        whole = x.new_zeros(MOST_HEADS, 1, room, dim)
        whole[:heads, 0, : x.shape[1]] = x
        padded.append(whole)
    out: Tensor = _compile()(*padded, block_mask=mask.blocks, scale=scale)
    return out[:heads, 0, :queries]


@cache
def _compile() -> Callable[..., Any]:
    """Compile FlexAttention once; the function keeps its kernels for all dtypes, head_dims and lengths."""
    config: Any = torch._dynamo.config
    # torch gives up after 8 kernels; six shapes for each of three dtypes are 18.
    config.recompile_limit = max(config.recompile_limit, 64)
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


@dataclass(frozen=True)
class _Mask:
    """A mask that shows each query a prefix of the keys, and can be changed without compiling anew."""

    counts: Tensor
    """``[L]``: how many of the first keys each query sees."""
    blocks: BlockMask
    """Reads ``counts`` in the kernel, and skips the blocks behind them."""

    def show(self, keys: int, causal: bool) -> None:
        """Let each query see all of ``keys`` keys, or where ``causal`` those up to its own place."""
        length = len(self.counts)
        rows = torch.arange(1, length + 1, device=self.counts.device)
        self.counts.copy_(rows.clamp(max=keys) if causal else torch.full_like(rows, keys))
        # Counts rise, so the last row of a block of queries sees the most.
        most = self.counts.view(length // BLOCK, BLOCK)[:, -1]
        self.blocks.kv_num_blocks.copy_((most + BLOCK - 1) // BLOCK)


@cache
@torch.inference_mode(False)  # tensors made in inference mode could not be written outside of it
def _make_mask(length: int, device: torch.device) -> _Mask:
    counts = torch.full((length,), length, dtype=torch.int32, device=device)
    blocks = length // BLOCK
    indices = torch.arange(blocks, dtype=torch.int32, device=device).expand(1, 1, blocks, blocks).contiguous()
    numbers = torch.full((1, 1, blocks), blocks, dtype=torch.int32, device=device)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return key < counts[query]

    mask = BlockMask.from_kv_blocks(numbers, indices, BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(length, length))
    return _Mask(counts, mask)
