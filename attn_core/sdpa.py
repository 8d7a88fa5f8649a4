"""Prefill through torch's ``scaled_dot_product_attention``, sequence by sequence.

It keeps the contract where kernels do not: a kernel multiplies what it hides by 0, and 0 * NaN is NaN. So keys that
nobody sees are cut off, rows that see nothing are zeros, and sequences that hold NaN or Inf take the eager steps.
"""

from __future__ import annotations

from contextlib import nullcontext
from itertools import pairwise
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from attn_core import eager
from attn_core.masks import CausalAlignment, causal_mask
from attn_core.metadata import HostMetadata

# All but cuDNN's: under a boolean mask it hides keys by a finite penalty, so that a visible score far below -65504
# loses to a hidden one (torch 2.11, float16 and bfloat16, seen on an H100; corpus/mask-penalty.json).
_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Layer(Protocol):
    """What is asked of the layer: its sizes, and the eager steps for what kernels are not made for."""

    num_rep: int
    scale: float
    causal_alignment: CausalAlignment

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype, hidden: Tensor | None = None) -> Tensor: ...
    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor: ...


def prefill(
    layer: Layer,
    q: Float[Tensor, "T H D"],
    k: Float[Tensor, "T_k G D"],
    v: Float[Tensor, "T_k G D"],
    host: HostMetadata,
) -> Float[Tensor, "T H D"]:
    """A call of the kernel for each sequence. One transfer says in which of them a query, or a key or value that one
    sees, is NaN or Inf: those take the eager steps.
    """
    rows, keys = ([slice(*ends) for ends in pairwise(host[name].tolist())] for name in ("cu_seqlens_q", "cu_seqlens_k"))
    sequences = [(q[i], k[j], v[j]) for i, j in zip(rows, keys, strict=True)]
    cuts = [_cut(len(a), len(b), layer.causal_alignment) for a, b, _ in sequences]
    finite = _finite([(a, b[:seen], c[:seen]) for (a, b, c), (_, seen) in zip(sequences, cuts, strict=True)])
    dtype = eager.accumulation_dtype(q.dtype)
    output = torch.zeros_like(q, memory_format=torch.contiguous_format)
    with eager.full_precision(q.device.type):
        for i, ((q_seq, k_seq, v_seq), (blind, seen)) in enumerate(zip(sequences, cuts, strict=True)):
            layer._check_numeric_range(q_seq, f"prefill_q_seq_{i}")
            layer._check_numeric_range(k_seq, f"prefill_k_seq_{i}")
            if not seen:
                continue
            hidden = None
            if not finite[i] or blind or not len(q_seq) == len(k_seq) == seen:
                hidden = causal_mask(len(q_seq), len(k_seq), layer.causal_alignment, q.device)
            if finite[i]:
                visible = None if hidden is None else ~hidden[blind:, :seen]
                out = output[rows[i]][blind:]
                out.copy_(_attend_causally(layer, q_seq[blind:], k_seq[:seen], v_seq[:seen], visible))
            else:
                output[rows[i]] = layer._attend(q_seq, k_seq, v_seq, dtype, hidden).to(q.dtype)
    return output


def _cut(queries: int, keys: int, alignment: CausalAlignment) -> tuple[int, int]:
    """How many of the first queries see nothing, and how many of the first keys are seen by any."""
    shift = keys - queries if alignment == "bottom_right" else 0
    return max(0, -shift), max(0, min(keys, queries + shift)) if queries else 0


def _finite(sequences: list[tuple[Tensor, Tensor, Tensor]]) -> list[bool]:
    """Whether all of a sequence is, in one transfer: by its extremes, which are NaN where anything is."""
    if not sequences:
        return []
    extremes = [
        [x.new_zeros(2) if not x.numel() else torch.stack(torch.aminmax(x)) for x in each] for each in sequences
    ]
    return torch.isfinite(torch.stack([torch.stack(each) for each in extremes])).flatten(1).all(dim=1).tolist()


def _attend_causally(
    layer: Layer,
    q: Float[Tensor, "Lq H D"],
    k: Float[Tensor, "Lk G D"],
    v: Float[Tensor, "Lk G D"],
    visible: Bool[Tensor, "Lq Lk"] | None,
) -> Float[Tensor, "Lq H D"]:
    """Under a mask, or as a causal square where there is none."""
    q_heads, k_heads, v_heads = (x.transpose(0, 1)[None] for x in (q, k, v))
    square, grouped = visible is None, layer.num_rep > 1
    with sdpa_kernel(_KERNELS) if visible is not None else nullcontext():
        out = scaled_dot_product_attention(
            q_heads, k_heads, v_heads, visible, is_causal=square, scale=layer.scale, enable_gqa=grouped
        )
    return out[0].transpose(0, 1)
