"""onnxruntime's ``Attention`` with a scale, a softcap, masks and groups of heads."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper
from torch import Tensor

from verification.adapter import INPUT, Batch, BatchedAdapter, Precision, promising
from verification.adapters.onnxruntime import session_of

_TYPES = {torch.float16: TensorProto.FLOAT16, torch.float32: TensorProto.FLOAT}


@cache
def _attention(dtype: torch.dtype, mask: torch.dtype | None, causal: bool, scale: float, softcap: float) -> Any:
    kinds = dict.fromkeys("qkv", _TYPES[dtype])
    if mask is not None:
        kinds["mask"] = TensorProto.BOOL if mask == torch.bool else _TYPES[dtype]
    attributes: dict[str, Any] = {"is_causal": int(causal), "scale": scale, "softcap": softcap}
    infos = [helper.make_tensor_value_info(name, kind, [None] * 4) for name, kind in kinds.items()]
    output = [helper.make_tensor_value_info("o", _TYPES[dtype], [None] * 4)]
    return session_of(helper.make_node("Attention", list(kinds), ["o"], **attributes), infos, output)


def attention(batch: Batch) -> Tensor:
    """Causality top-left by the attribute, anything else as part of the mask."""
    causal, mask = batch.alignment == "top_left" and not batch.window, batch.mask
    if not causal and (batch.alignment != "none" or mask is not None):
        mask = batch.whole_mask()
    inputs = {name: getattr(batch, name).contiguous().numpy() for name in "qkv"}
    if mask is not None:
        sizes = len(batch.q), batch.q.shape[1], batch.q.shape[2], batch.k.shape[2]
        inputs["mask"] = np.ascontiguousarray(mask.expand(sizes).numpy())
    session = _attention(batch.q.dtype, None if mask is None else mask.dtype, causal, batch.scale, batch.softcap)
    return torch.from_numpy(session.run(None, inputs)[0])


class MaskedAttention(BatchedAdapter):
    """Masks are written out: "last dimension can also be shorter than total_sequence_length and will be padded", and
    broadcast "to (batch_size, q_num_heads, q_sequence_length, total_sequence_length)".
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
    # As of the plain one; the scale's root is taken of queries and keys, each of them rounded.
    precision = Precision(scores=INPUT, probabilities=INPUT, scaled_query=True)

    def attend(self, batch: Batch) -> Tensor:
        return attention(batch)
