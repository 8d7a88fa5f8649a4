"""torch's scaled_dot_product_attention on its nested tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from verification.adapter import DTYPES, DenseAdapter, Precision, Weaker, promising


def _attend_nested(q: list[Tensor], k: list[Tensor], v: list[Tensor], scale: float) -> Tensor:
    """Return the outputs of sequences ``[H, L, D]``, one behind the other, ``[H, T, D]``."""

    def beside(sequences: list[Tensor]) -> Tensor:
        ends = torch.tensor([0, *(x.shape[1] for x in sequences)]).cumsum(0)
        tokens = torch.cat(sequences, dim=1).transpose(0, 1).contiguous()
        return torch.nested.nested_tensor_from_jagged(tokens, ends).transpose(1, 2)

    out: Tensor = scaled_dot_product_attention(beside(q), beside(k), beside(v), scale=scale)
    return out.transpose(1, 2).values().transpose(0, 1)


class Jagged(DenseAdapter):
    """Jagged nested tensors. A processor takes no ``is_causal`` for them: each row of a square is its own sequence."""

    name = "nested/jagged"
    contract = promising(*DTYPES)
    precision = Precision()
    weaker = (
        Weaker(
            "nonfinite",
            "attn_weight = torch.softmax(attn_weight, dim=-1)",
            "torch.nn.functional.scaled_dot_product_attention",
            "of dense tensors findings 4, 7; nested ones are not asked",
        ),
    )

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        if not causal:
            return _attend_nested([q], [k], [v], scale)
        rows = range(q.shape[1])
        k_rows, v_rows = ([x[:, : i + 1] for i in rows] for x in (k, v))
        return _attend_nested([q[:, i : i + 1] for i in rows], k_rows, v_rows, scale)
