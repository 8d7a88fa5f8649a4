"""Prefill through torch's ``scaled_dot_product_attention``, sequence by sequence.

It keeps the contract where kernels do not: a kernel multiplies what it hides by 0, and 0 * NaN is NaN. So keys that
nobody sees are cut off, rows that see nothing are zeros, and sequences that hold NaN or Inf take the eager steps.
"""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from math import isfinite
from typing import Any, Protocol

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

Sequence = tuple[slice, slice]
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
    """A call of the kernel for each sequence; those in which anything that is seen is NaN or Inf take the eager steps.
    On a device one transfer says whether there are any.
    """
    watch_sequences(layer, q, k, host)
    sequences = list(zip(*_sequences(host), strict=True))
    output = torch.empty_like(q, memory_format=torch.contiguous_format)
    if not sequences:
        return output
    with eager.full_precision(q.device.type), torch.no_grad():
        (_on_device if q.is_cuda else _on_host)(layer, q, k, v, sequences, output[:, None])
    return output


def _on_host(layer: Layer, q: Tensor, k: Tensor, v: Tensor, sequences: list[Sequence], output: Tensor) -> None:
    """One after the other: what has just been looked at is near."""
    heads = q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None]
    if q.dtype.itemsize == 2:  # whose products read them across the heads slower than they are copied
        heads = heads[0], heads[1].contiguous(), heads[2].contiguous()
    for rows, keys in sequences:
        if isfinite(_checksum_of_seen(layer, q, k, v, rows, keys)):
            output[rows] = _attend_finite(layer, *heads, rows, keys)
        else:
            output[rows, 0] = _attend_eagerly(layer, q, k, v, rows, keys)


def _on_device(layer: Layer, q: Tensor, k: Tensor, v: Tensor, sequences: list[Sequence], output: Tensor) -> None:
    """All of them as if they were finite, the longest first, so that the device does not wait for the host; whether
    they were, it tells meanwhile.
    """
    heads = q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None]
    with side_by_side(q.device) as (aside, least_busy):
        for i, (rows, keys) in enumerate(sorted(sequences, key=_work, reverse=True)):
            with least_busy(_work((rows, keys))):
                output[rows] = _attend_finite(layer, *heads, rows, keys)
            if i == 0:  # the device has something to do: what it is asked beside comes second
                with aside():
                    sums = checksum(q, k, v)
        with aside():
            usable = isfinite(sums)  # does not wait for what goes on beside
    if not usable:
        which = torch.stack([_checksum_of_seen(layer, q, k, v, *each) for each in sequences]).tolist()
        for (rows, keys), seen in zip(sequences, which, strict=True):
            if not isfinite(seen):
                output[rows, 0] = _attend_eagerly(layer, q, k, v, rows, keys)


def _checksum_of_seen(layer: Layer, q: Tensor, k: Tensor, v: Tensor, rows: slice, keys: slice) -> Float[Tensor, ""]:
    """Of everything of a sequence that anybody sees."""
    _, seen = _cut(_length(rows), _length(keys), layer.causal_alignment)
    seen_keys = slice(keys.start, keys.start + seen)
    return checksum(q[rows], k[seen_keys], v[seen_keys])


def _attend_eagerly(layer: Layer, q: Tensor, k: Tensor, v: Tensor, rows: slice, keys: slice) -> Tensor:
    hidden = causal_mask(_length(rows), _length(keys), layer.causal_alignment, q.device)
    return layer._attend(q[rows], k[keys], v[keys], eager.accumulation_dtype(q.dtype), hidden).to(q.dtype)


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


def _length(of: slice) -> int:
    length: int = of.stop - of.start
    return length


def _work(sequence: Sequence) -> int:
    rows, keys = sequence
    return _length(rows) * _length(keys)


def _cut(queries: int, keys: int, alignment: CausalAlignment) -> tuple[int, int]:
    """How many of the first queries see nothing, and how many of the first keys are seen by any."""
    shift = keys - queries if alignment == "bottom_right" else 0
    return max(0, -shift), max(0, min(keys, queries + shift)) if queries else 0


def seen_keys(host: HostMetadata, alignment: CausalAlignment) -> Bool[Tensor, "T_k"]:
    """Which keys of a prefill any query sees; on the host."""
    seen = torch.zeros(int(host["cu_seqlens_k"][-1]), dtype=torch.bool, device="cpu")
    for rows, keys in zip(*_sequences(host), strict=True):
        seen[keys.start : keys.start + _cut(_length(rows), _length(keys), alignment)[1]] = True
    return seen


def checksum(*tensors: Tensor) -> Float[Tensor, ""]:
    """Finite only where everything is: of sums or of extremes, whichever are had sooner. Sums may overflow."""
    return reduce(torch.add, map(_checksum, tensors))


def _checksum(x: Tensor) -> Float[Tensor, ""]:
    dtype = eager.accumulation_dtype(x.dtype)
    if x.device.type == "cpu" and x.dtype.itemsize == 2 and x.numel():
        low, high = torch.aminmax(x)
        return high.to(dtype) - low.to(dtype)
    return x.sum(dtype=dtype)


def _attend_finite(
    layer: Layer,
    q: Float[Tensor, "1 H T D"],
    k: Float[Tensor, "1 G T_k D"],
    v: Float[Tensor, "1 G T_k D"],
    rows: slice,
    keys: slice,
) -> Float[Tensor, "Lq 1 H D"]:
    """One sequence, by the kernel: a causal square, or what is left when nobody's keys and blind queries are cut off,
    under a mask.
    """
    queries, length = _length(rows), _length(keys)
    options: dict[str, Any] = {"scale": layer.scale, "enable_gqa": layer.num_rep > 1}
    q = q.narrow(2, rows.start, queries)
    k, v = k.narrow(2, keys.start, length), v.narrow(2, keys.start, length)
    if queries == length > 0:
        return scaled_dot_product_attention(q, k, v, is_causal=True, **options).permute(2, 0, 1, 3)
    output = q.new_zeros(queries, *q.shape[:2], q.shape[3])
    blind, seen = _cut(queries, length, layer.causal_alignment)
    if seen:
        visible = ~causal_mask(queries, length, layer.causal_alignment, q.device)[blind:, :seen]
        with sdpa_kernel(_KERNELS):
            out = scaled_dot_product_attention(q[:, :, blind:], k[:, :, :seen], v[:, :, :seen], visible, **options)
        output[blind:] = out.permute(2, 0, 1, 3)
    return output
