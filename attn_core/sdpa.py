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
from attn_core.notices import ranges_are_watched
from attn_core.streams import side_by_side

Sequence = tuple[Tensor, Tensor, Tensor]
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
    """A call of the kernel for each sequence, as if all numbers were finite. Whether they are, one transfer says; if
    not, those sequences in which a query, or a key or value that one sees, is NaN or Inf take the eager steps.
    """
    rows, keys = _sequences(host)
    sequences = [(q[i], k[j], v[j]) for i, j in zip(rows, keys, strict=True)]
    cuts = [_cut(len(a), len(b), layer.causal_alignment) for a, b, _ in sequences]
    watch_sequences(layer, q, k, host)
    output = torch.empty_like(q, memory_format=torch.contiguous_format)
    with eager.full_precision(q.device.type):
        with side_by_side(q.device) as turn:
            finite = all_finite(q, k, v)
            # The longest first: while a device is busy with them, the others are brought to it.
            for i in sorted(range(len(rows)), key=lambda i: -len(sequences[i][0])):
                with turn():
                    _attend_finite(layer, *sequences[i], *cuts[i], output[rows[i]])
            usable = bool(finite)  # does not wait for what goes on beside
        if not usable:
            _again(layer, sequences, cuts, [output[each] for each in rows])
    return output


def _again(layer: Layer, sequences: list[Sequence], cuts: list[tuple[int, int]], outputs: list[Tensor]) -> None:
    """Those sequences that are not finite, by the eager steps."""
    seen = [(q, k[:end], v[:end]) for (q, k, v), (_, end) in zip(sequences, cuts, strict=True)]
    finite = torch.stack([all_finite(*each) for each in seen]).tolist()
    for (q, k, v), usable, output in zip(sequences, finite, outputs, strict=True):
        if not usable:
            hidden = causal_mask(len(q), len(k), layer.causal_alignment, q.device)
            output.copy_(layer._attend(q, k, v, eager.accumulation_dtype(q.dtype), hidden))


class Watching(Protocol):
    """Who hears of what leaves the range."""

    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor: ...


def watch_sequences(
    layer: Watching, q: Float[Tensor, "T H D"], k: Float[Tensor, "T_k G D"], host: HostMetadata
) -> None:
    """The range checks of a prefill, but for its scores."""
    if ranges_are_watched():
        for i, (rows, keys) in enumerate(zip(*_sequences(host), strict=True)):
            layer._check_numeric_range(q[rows], f"prefill_q_seq_{i}")
            layer._check_numeric_range(k[keys], f"prefill_k_seq_{i}")


def _sequences(host: HostMetadata) -> tuple[list[slice], list[slice]]:
    rows, keys = ([slice(*ends) for ends in pairwise(host[name].tolist())] for name in ("cu_seqlens_q", "cu_seqlens_k"))
    return rows, keys


def _cut(queries: int, keys: int, alignment: CausalAlignment) -> tuple[int, int]:
    """How many of the first queries see nothing, and how many of the first keys are seen by any."""
    shift = keys - queries if alignment == "bottom_right" else 0
    return max(0, -shift), max(0, min(keys, queries + shift)) if queries else 0


def all_finite(*tensors: Tensor) -> Bool[Tensor, ""]:
    """Whether everything is, by a sum or by extremes, whichever is had sooner. A sum may overflow: then False."""
    return torch.stack([_summary(x) for x in tensors if x.numel()] or [torch.zeros(1)]).isfinite().all()


def _summary(x: Tensor) -> Float[Tensor, "2"]:
    if x.device.type == "cpu" and x.dtype.itemsize == 2:
        return torch.stack(torch.aminmax(x)).to(torch.float32)
    return x.sum(dtype=eager.accumulation_dtype(x.dtype)).expand(2)


def _attend_finite(
    layer: Layer,
    q: Float[Tensor, "Lq H D"],
    k: Float[Tensor, "Lk G D"],
    v: Float[Tensor, "Lk G D"],
    blind: int,
    seen: int,
    output: Float[Tensor, "Lq H D"],
) -> None:
    """Written to ``output``: the ``blind`` queries at the beginning see nothing, the first ``seen`` keys are seen."""
    output[: blind if seen else len(q)] = 0
    if not seen:
        return
    visible = None
    if blind or not len(q) == len(k) == seen:
        visible = ~causal_mask(len(q), len(k), layer.causal_alignment, q.device)[blind:, :seen]
    output[blind:].copy_(_attend_causally(layer, q[blind:], k[:seen], v[:seen], visible))


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
