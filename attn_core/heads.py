"""Grouped-query attention: one key/value head serves several query heads."""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor


def repeat_kv(hidden_states: Shaped[Tensor, "L G D"], n_rep: int, max_heads: int = 32) -> Shaped[Tensor, "L H D"]:
    """Repeat the kv heads for the query heads: head ``g`` becomes heads ``g*n_rep .. g*n_rep + n_rep - 1``.

    ``n_rep == 1`` returns the input itself. Raises ValueError if ``G * n_rep > max_heads``.
    """
    if n_rep == 1:
        return hidden_states
    seq_len, num_kv_heads, head_dim = hidden_states.shape
    num_heads = num_kv_heads * n_rep
    if num_heads > max_heads:
        raise ValueError(f"n_rep: {num_kv_heads} kv heads * {n_rep} = {num_heads} heads, above max_heads={max_heads}")
    expanded = hidden_states.unsqueeze(2).expand(seq_len, num_kv_heads, n_rep, head_dim)
    return expanded.reshape(seq_len, num_heads, head_dim)
