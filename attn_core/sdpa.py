"""Prefill by torch's ``scaled_dot_product_attention``, sequence by sequence.

Kernels multiply what they hide by 0, and 0 * NaN is NaN. To keep the contract all the same, keys that no query sees are
cut off, rows that see no key are zeros, and sequences with a visible NaN or Inf take the eager steps.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from attn_core import eager
from attn_core.finite import checksum
from attn_core.masks import CausalAlignment, causal_mask
from attn_core.metadata import HostMetadata
from attn_core.notices import ranges_are_watched
from attn_core.sequences import Span, count_blind_and_seen, list_spans, split_sequences
from attn_core.streams import side_by_side

# All kernels but cuDNN's, which hides keys under a boolean mask by a finite penalty: a visible score far below -65504
# loses to a hidden one (torch 2.11, float16 and bfloat16, seen on an H100; the corpus's mask-penalty.json).
_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Layer(Protocol):
    """The part of the layer that a prefill needs: its sizes, and the eager steps for numbers that are not finite."""

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
    """Return the attention of each sequence from one kernel call, or from the eager steps if it sees a NaN or Inf.

    On a device one transfer tells whether there is any NaN or Inf.
    """
    check_ranges(layer, q, k, host)
    output = torch.empty_like(q, memory_format=torch.contiguous_format)
    if len(q):
        with eager.full_precision(q.device.type), torch.no_grad():
            (_attend_on_device if q.is_cuda else _attend_on_host)(layer, q, k, v, host, output[:, None])
    return output


def _attend_on_host(layer: Layer, q: Tensor, k: Tensor, v: Tensor, host: HostMetadata, output: Tensor) -> None:
    """Attend sequence by sequence, so that numbers which were just checked are still in the CPU's cache."""
    heads = q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None]
    if q.dtype.itemsize == 2:  # products across the heads of 16-bit numbers are slower than a copy and products of it
        heads = heads[0], heads[1].contiguous(), heads[2].contiguous()
    for span, here, there in split_sequences(list_spans(host), *heads, output):
        if isfinite(_checksum_of_seen(layer, q, k, v, span)):
            there.copy_(_attend_finite(layer, *here))
        else:
            output[span.rows, 0] = _attend_eagerly(layer, q, k, v, span)


def _attend_on_device(layer: Layer, q: Tensor, k: Tensor, v: Tensor, host: HostMetadata, output: Tensor) -> None:
    """Attend to all sequences as if they were finite, then again to those that are not.

    The longest sequence comes first, so that the device does not wait for the host. The device computes meanwhile
    whether all numbers are finite. Work that needs no lengths comes before `list_spans`, which may take a transfer.
    """
    heads = q.transpose(0, 1)[None], k.transpose(0, 1)[None], v.transpose(0, 1)[None]
    with side_by_side(q.device) as switch:
        switch.to_aside()
        largest = checksum(q, k, v)
        switch.back()
        sequences = list_spans(host)
        for span, here, there in sorted(split_sequences(sequences, *heads, output), key=lambda one: -one[0].work):
            switch.to_least_busy(span.work)
            there.copy_(_attend_finite(layer, *here))
        switch.to_aside()
        usable = isfinite(largest)  # waits for this stream alone
    if not usable:
        which = torch.stack([_checksum_of_seen(layer, q, k, v, span) for span in sequences]).tolist()
        for span, seen in zip(sequences, which, strict=True):
            if not isfinite(seen):
                output[span.rows, 0] = _attend_eagerly(layer, q, k, v, span)


class RangeChecker(Protocol):
    """The range check of a layer."""

    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor: ...


def check_ranges(
    layer: RangeChecker, q: Float[Tensor, "T H D"], k: Float[Tensor, "T_k G D"], host: HostMetadata
) -> None:
    """Check the ranges of a prefill's queries and keys; kernels give no scores to check."""
    if ranges_are_watched():
        for i, (rows, keys) in enumerate(list_spans(host)):
            layer._check_numeric_range(q[rows], f"prefill_q_seq_{i}")
            layer._check_numeric_range(k[keys], f"prefill_k_seq_{i}")


def _checksum_of_seen(layer: Layer, q: Tensor, k: Tensor, v: Tensor, span: Span) -> Float[Tensor, ""]:
    """Return the checksum of a sequence's queries and of the keys and values that any of them sees."""
    seen = slice(span.keys.start, span.keys.start + count_blind_and_seen(*span.sizes, layer.causal_alignment)[1])
    return checksum(q[span.rows], k[seen], v[seen])


def _attend_eagerly(layer: Layer, q: Tensor, k: Tensor, v: Tensor, span: Span) -> Tensor:
    """Attend for one sequence by the layer's eager steps."""
    hidden = causal_mask(*span.sizes, layer.causal_alignment, q.device)
    dtype = eager.accumulation_dtype(q.dtype)
    return layer._attend(q[span.rows], k[span.keys], v[span.keys], dtype, hidden).to(q.dtype)


def _attend_finite(
    layer: Layer,
    q: Float[Tensor, "1 H T D"],
    k: Float[Tensor, "1 G T_k D"],
    v: Float[Tensor, "1 G T_k D"],
) -> Float[Tensor, "T 1 H D"]:
    """Attend for one sequence of finite numbers by the kernel.

    A square is causal for the kernel itself. Of any other shape, keys that no query sees and queries that see no key
    are cut off, and the kernel gets a mask.
    """
    queries, length = q.shape[2], k.shape[2]
    options: dict[str, Any] = {"scale": layer.scale, "enable_gqa": layer.num_rep > 1}
    if queries == length > 0:
        return scaled_dot_product_attention(q, k, v, is_causal=True, **options).permute(2, 0, 1, 3)
    output = q.new_zeros(queries, *q.shape[:2], q.shape[3])
    blind, seen = count_blind_and_seen(queries, length, layer.causal_alignment)
    if seen:
        visible = ~causal_mask(queries, length, layer.causal_alignment, q.device)[blind:, :seen]
        with sdpa_kernel(_KERNELS):
            out = scaled_dot_product_attention(q[:, :, blind:], k[:, :, :seen], v[:, :, :seen], visible, **options)
        output[blind:] = out.permute(2, 0, 1, 3)
    return output
