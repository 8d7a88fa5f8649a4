"""torch's scaled_dot_product_attention on nested tensors, which come with torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from verification.adapter import DTYPES, DenseAdapter, Precision, promising


def jagged(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    """On a processor they take no ``is_causal``: each row of a square is a sequence of its own, with its own keys."""
    if not causal:
        return _nested([q], [k], [v], scale)
    rows = range(q.shape[1])
    return _nested([q[:, i : i + 1] for i in rows], [k[:, : i + 1] for i in rows], [v[:, : i + 1] for i in rows], scale)


def _nested(q: list[Tensor], k: list[Tensor], v: list[Tensor], scale: float) -> Tensor:
    """Sequences side by side, ``[H, L, D]`` each."""

    def beside(sequences: list[Tensor]) -> Tensor:
        ends = torch.tensor([0, *(x.shape[1] for x in sequences)]).cumsum(0)
        tokens = torch.cat(sequences, dim=1).transpose(0, 1).contiguous()
        return torch.nested.nested_tensor_from_jagged(tokens, ends).transpose(1, 2)

    out: Tensor = scaled_dot_product_attention(beside(q), beside(k), beside(v), scale=scale)
    return out.transpose(1, 2).values().transpose(0, 1)


class Jagged(DenseAdapter):
    name = "nested/jagged"
    contract = promising(*DTYPES)
    precision = Precision()

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        return jagged(q, k, v, causal, scale)
