"""onnxruntime's ``Attention`` with a scale, a softcap, masks and groups of heads."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import Tensor

from verification.adapter import INPUT, Batch, BatchedAdapter, Precision, Weaker, promising
from verification.adapters.onnxruntime import LINES, SPECIFICATION, open_session

_TYPES = {torch.float16: TensorProto.FLOAT16, torch.float32: TensorProto.FLOAT}
_ROOT = "scale `Q`, `K` by `sqrt(scale)` before matmul."


@cache
def _open_attention(dtype: torch.dtype, mask: torch.dtype | None, causal: bool, scale: float, softcap: float) -> Any:
    kinds = dict.fromkeys("qkv", _TYPES[dtype])
    if mask is not None:
        kinds["mask"] = TensorProto.BOOL if mask == torch.bool else _TYPES[dtype]
    attributes: dict[str, Any] = {"is_causal": int(causal), "scale": scale, "softcap": softcap}
    infos = [helper.make_tensor_value_info(name, kind, [None] * 4) for name, kind in kinds.items()]
    output = [helper.make_tensor_value_info("o", _TYPES[dtype], [None] * 4)]
    return open_session(helper.make_node("Attention", list(kinds), ["o"], **attributes), infos, output)


class MaskedAttention(BatchedAdapter):
    """``Attention`` under masks. Plain causality top-left is the operator's attribute, any other is part of the mask.

    Masks are expanded before the call. The operator would broadcast them "to (batch_size, q_num_heads,
    q_sequence_length, total_sequence_length)", but their "last dimension can also be shorter than total_sequence_length
    and will be padded", so that a mask 1 wide there would mean another one.
    """

    name = "onnxruntime/Attention, masked"
    contract = promising(
        "float16",
        "float32",
        phases=("prefill",),
        dense_batches=True,
        scoring=frozenset({"scale", "softcap", "bool_mask", "float_mask", "window", "blind_rows"}),
        alignments=("top_left", "bottom_right", "none"),
    )
    # As `Attention` without a mask; queries and keys are each multiplied by the root of the scale, and rounded.
    precision = Precision(scores=INPUT, probabilities=INPUT, scaled_query=True)
    weaker = (
        *LINES,
        Weaker("dtypes", "Default value is `1/sqrt(head_size)`.", SPECIFICATION, "findings 2", ("float64",)),
        Weaker("scoring", _ROOT, SPECIFICATION, "a scale below 0 has no such root", ("odd_scale",)),
        Weaker("scoring", "", SPECIFICATION, "it has no such input", ("alibi", "sinks")),
        Weaker("scaled_query", _ROOT, SPECIFICATION, "the specification says so"),
    )

    def attend(self, batch: Batch) -> Tensor:
        causal, mask = batch.alignment == "top_left" and not batch.window, batch.mask
        if not causal and (batch.alignment != "none" or mask is not None):
            mask = batch.whole_mask()
        inputs = {name: getattr(batch, name).contiguous().numpy() for name in "qkv"}
        if mask is not None:
            sizes = len(batch.q), batch.q.shape[1], batch.q.shape[2], batch.k.shape[2]
            inputs["mask"] = np.ascontiguousarray(mask.expand(sizes).numpy())
        kind = None if mask is None else mask.dtype
        session = _open_attention(batch.q.dtype, kind, causal, batch.scale, batch.softcap)
        return torch.from_numpy(session.run(None, inputs)[0])
