"""The causal mask: the keys that a query may not see."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

CausalAlignment = Literal["top_left", "bottom_right"]
CAUSAL_ALIGNMENTS: tuple[str, ...] = get_args(CausalAlignment)


def causal_mask(
    num_queries: int, num_keys: int, alignment: CausalAlignment = "top_left", device: torch.device | None = None
) -> Bool[Tensor, "{num_queries} {num_keys}"]:
    """Return True where key ``b`` is hidden from query ``a``: ``b > a``, or ``b > a + Lk - Lq`` for bottom-right.

    The flowchart adds ``triu(full(-inf), diagonal=1)`` to the scores. A boolean mask says the same without arithmetic:
    NaN + -inf is NaN, so an additive mask lets a poisoned hidden key through.
    """
    offset = num_keys - num_queries if alignment == "bottom_right" else 0
    return torch.ones(num_queries, num_keys, dtype=torch.bool, device=device).triu(diagonal=1 + offset)
