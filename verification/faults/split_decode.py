"""A small honest split decode: parts of a context are merged by their log-sum-exp, as FlashDecoding does it.

attn_core has no split decode, so faults in merging are planted in this one.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from attn_core import Attention, eager
from attn_core.heads import repeat_kv
from verification.faults.planted import Original, Swap

Part = tuple[Tensor, Tensor]


def split_count(context_len: int) -> int:
    """Return the number of parts of a context: two, whatever else is in the batch."""
    return 2


def cut(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """Return ``count`` parts of keys or values ``[H, Lk, D]``, as equal as can be: some may be empty."""
    return x.tensor_split(count, dim=1)


def attend_part(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Part:
    """Return the output ``[H, 1, D]`` and the log-sum-exp ``[H, 1, 1]`` of one part, -Inf where the part is empty.

    Log-sum-exps are float64: shares are computed from their differences, which float32 would lose for large scores.
    """
    scores = eager.attention_scores(q, k, scale)
    lse = scores.double().logsumexp(-1, keepdim=True)
    # A part whose scores are all -Inf has weights 0 / 0, which must not spoil the other parts.
    weights = eager.attention_weights(scores).masked_fill(lse == -torch.inf, 0.0)
    return eager.weighted_values(weights, v), lse


def merge(one: Part, other: Part) -> Part:
    """Return the output and log-sum-exp of both parts together; two empty parts give zeros and -Inf."""
    total = torch.logaddexp(one[1], other[1])
    # A softmax divides by its sum; exp(lse - total) would add up to 1 only as far as the rounded total is exact.
    shares = torch.stack([one[1], other[1]]).softmax(dim=0).masked_fill(total == -torch.inf, 0.0)
    return one[0] * shares[0].to(one[0].dtype) + other[0] * shares[1].to(one[0].dtype), total


def _attend(
    original: Original,
    layer: Attention,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dtype: torch.dtype,
    hidden: Tensor | None = None,
    scores_name: str | None = None,
) -> Tensor:
    if hidden is not None:
        return original(layer, q, k, v, dtype, hidden, scores_name)
    q_trans = eager.widen(q, dtype).transpose(0, 1)
    k_trans, v_trans = (
        repeat_kv(eager.widen(x, dtype), layer.num_rep, layer.max_heads).transpose(0, 1) for x in (k, v)
    )
    keys, values = (cut(x, split_count(len(k))) for x in (k_trans, v_trans))
    parts = [attend_part(q_trans, *part, scale=layer.scale) for part in zip(keys, values, strict=True)]
    merged, _ = reduce(merge, parts)
    return merged.transpose(0, 1)


SPLIT_DECODE = (Swap(Attention, "_attend", _attend),)
