"""torch's scaled_dot_product_attention with ``attn_mask``, ``is_causal``, ``scale`` and groups of heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from verification.adapter import (
    DTYPES,
    FLASH_ON_CPU,
    FLASH_ON_CPU_LINES,
    Batch,
    BatchedAdapter,
    Precision,
    Weaker,
    promising,
)

# Its documentation: a boolean mask shows a key where it is True, a float mask is added; ``is_causal`` is top-left, and
# must not be given with a mask. "attn_mask: shape must be broadcastable to the shape of attention weights".
MASKED = promising(
    *DTYPES,
    phases=("prefill",),
    dense_batches=True,
    scoring=frozenset({"scale", "odd_scale", "bool_mask", "float_mask", "window", "blind_rows"}),
    alignments=("top_left", "bottom_right", "none"),
)
_DOCUMENTATION = "torch.nn.functional.scaled_dot_product_attention"
_NO_SUCH_ARGUMENT = Weaker("scoring", "", _DOCUMENTATION, "it has no such argument", ("alibi", "sinks", "softcap"))
_NAN = Weaker("nonfinite", "attn_weight = torch.softmax(attn_weight, dim=-1)", _DOCUMENTATION, "findings 4, 7")


def attend_with_mask(batch: Batch) -> Tensor:
    """Return attention by the kernel in force. Plain causality top-left is an argument, any other is part of the mask,
    which is boolean unless it is added to the scores.
    """
    grouped = batch.q.shape[1] != batch.k.shape[1]
    options: dict[str, Any] = {"scale": batch.scale, "enable_gqa": grouped}
    if batch.alignment == "top_left" and batch.mask is None and not batch.window:
        return scaled_dot_product_attention(batch.q, batch.k, batch.v, is_causal=True, **options)
    return scaled_dot_product_attention(batch.q, batch.k, batch.v, batch.whole_mask(), **options)


class Math(BatchedAdapter):
    """The math kernel. "For math backend, all intermediates are kept in torch.float if inputs are in torch.half or
    torch.bfloat16", its documentation says.
    """

    name = "torch/sdpa math, masked"
    contract = MASKED
    precision = Precision()
    weaker = (_NAN, _NO_SUCH_ARGUMENT)

    def attend(self, batch: Batch) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return attend_with_mask(batch)


class Flash(BatchedAdapter):
    """The flash kernel. "All fused kernels require the last dimension of the input to have stride 1", its warning says:
    other tensors are copied.
    """

    name = "torch/sdpa flash, masked"
    contract = MASKED
    precision = FLASH_ON_CPU
    weaker = (*FLASH_ON_CPU_LINES, _NO_SUCH_ARGUMENT)

    def attend(self, batch: Batch) -> Tensor:
        tokens = {name: getattr(batch, name) for name in "qkv"}
        # Torch calls a dim of size 1 contiguous whatever its stride, so `contiguous` would not copy it.
        rows = {
            n: x if x.stride(-1) == 1 else x.clone(memory_format=torch.contiguous_format) for n, x in tokens.items()
        }
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return attend_with_mask(replace(batch, **rows))
