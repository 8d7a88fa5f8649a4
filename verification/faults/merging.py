"""Faults in a split decode: parts of a context that are merged wrongly, or cut differently."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import torch
from torch import Tensor

from attn_core import get_context
from verification.faults import split_decode
from verification.faults.planted import swaps
from verification.faults.split_decode import SPLIT_DECODE, Part


@swaps(split_decode, "attend_part", "sgl-project/sglang#40903", on=SPLIT_DECODE)
def lse_base2(original: Callable[..., Part], q: Tensor, k: Tensor, v: Tensor, scale: float) -> Part:
    """The log-sum-exp of each part is in base 2, and is merged as if in base e."""
    output, lse = original(q, k, v, scale)
    return output, lse / log(2)


@swaps(split_decode, "merge", "flashinfer-ai/flashinfer#4054", on=SPLIT_DECODE)
def lse_both_empty(original: Callable[..., Part], one: Part, other: Part) -> Part:
    """Two empty parts are merged to NaN: exp(-inf + inf)."""
    merged, total = original(one, other)
    return merged * torch.exp(total - total).to(merged.dtype), total


@swaps(split_decode, "split_count", "deepseek-ai/FlashMLA#212", on=SPLIT_DECODE)
def batch_split(original: Callable[[int], int], context_len: int) -> int:
    """The number of parts depends on the batch: the same row has other bits."""
    lengths = get_context().context_lens
    return original(context_len) if lengths is None else max(1, 4 // len(lengths))
