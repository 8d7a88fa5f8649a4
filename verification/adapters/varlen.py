"""torch's varlen_attn: ragged prefills by FlashAttention 2, on CUDA alone."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from verification.adapter import FLASH_ON_MATRIX_UNITS, PagedAdapter, Problem, Tensors, Weaker, promising

_DOCUMENTATION = "torch.nn.attention.varlen.varlen_attn"
_CAUSAL = "(-1, 0) for causal attention"
_NOT_YET = "not asked yet, for want of a device"


class Varlen(PagedAdapter):
    """Prefills without a cache, aligned bottom-right.

    Its documentation has tensors ``(T, H, D)``, "offsets" of sequences, and "(-1, 0) means causal", which
    FlashAttention aligns bottom-right. Of groups torch 2.11 says nothing, and 2.13 has an argument for them: here each
    query head gets a kv head of its own.
    """

    name = "torch/varlen_attn"
    contract = promising(
        "float16",
        "bfloat16",
        phases=("prefill",),
        head_dims=(16, 64, 80, 128),  # fused kernels load rows of a multiple of 16 bytes
        alignments=("bottom_right",),
        undefined=frozenset({"layout: strided", "cache: own dtype"}),
    )
    precision = FLASH_ON_MATRIX_UNITS
    weaker = (
        Weaker("dtypes", "", _DOCUMENTATION, "FlashAttention takes 16-bit ones alone", ("float32", "float64")),
        Weaker("head_dims", "", _DOCUMENTATION, "rows are loaded by 16 bytes"),
        Weaker("alignments", _CAUSAL, _DOCUMENTATION, "FlashAttention has no other diagonal", ("top_left",)),
        Weaker("scoring", "", _DOCUMENTATION, "it has no such argument", ("alibi", "sinks", "softcap")),
        Weaker("scoring", "Scaling factor for attention scores", _DOCUMENTATION, _NOT_YET, ("scale", "odd_scale")),
        Weaker(
            "scoring",
            "(W, 0) for causal attention with sliding window of size W.",
            _DOCUMENTATION,
            _NOT_YET,
            ("window",),
        ),
        Weaker("undefined", "", _DOCUMENTATION, "rows must be contiguous", ("layout: strided",)),
        Weaker("undefined", "", _DOCUMENTATION, "it is asked without a cache", ("cache: own dtype",)),
        Weaker("nonfinite", "", _DOCUMENTATION, "nothing is said of NaN and Inf"),
        Weaker("probabilities", "", _DOCUMENTATION, "the weights are cast before the second product"),
        Weaker("truncating", "", _DOCUMENTATION, "matrix units cut off what lies below the largest product of a sum"),
    )
    device = "cuda"

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        from torch.nn.attention import varlen  # not in every torch that we run with

        if not len(tensors.q):  # an empty call cannot be launched: "CUDA error: invalid argument"
            return tensors.q
        attend: Any = varlen.varlen_attn
        known = inspect.signature(attend).parameters
        causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
        k, v = (x.repeat_interleave(problem.num_heads // problem.num_kv_heads, dim=1) for x in (tensors.k, tensors.v))
        starts = [x.to(torch.int32) for x in tensors.held("cu_seqlens_q", "cu_seqlens_k")]
        longest = [max(lengths, default=0) for lengths in (problem.query_lens, problem.key_lens)]
        out: Tensor = attend(tensors.q, k, v, *starts, *longest, scale=problem.scale, **causal)
        return out
