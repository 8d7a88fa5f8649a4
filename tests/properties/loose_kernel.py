"""A kernel that rounds its scores, and declares so; its documentation promises better."""

from __future__ import annotations

import torch
from torch import Tensor

from verification.adapter import INPUT, DenseAdapter, Precision, Weaker, promising


class Loose(DenseAdapter):
    name = "loose"
    contract = promising("bfloat16", head_dims=(16,))
    precision = Precision(scores=INPUT)
    documented = Precision()
    weaker = (Weaker("scores", "all intermediates are kept in float32", "its page", "findings 99"),)

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        scores = (q.float() @ k.float().mT * scale).to(q.dtype).float()
        hidden = torch.ones(scores.shape, dtype=torch.bool).triu(1) if causal else torch.zeros((), dtype=torch.bool)
        return (scores.masked_fill(hidden, -torch.inf).softmax(dim=-1) @ v.float()).to(q.dtype)
