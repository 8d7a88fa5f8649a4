"""OpenVINO's ScaledDotProductAttention on a processor, at its own choice of precision and at float32."""

from __future__ import annotations

from functools import cache
from typing import Any

import openvino  # type: ignore[import-untyped, import-not-found, unused-ignore]
import torch
from openvino import opset13  # type: ignore[import-untyped, import-not-found, unused-ignore]
from torch import Tensor

from verification.adapter import INPUT, DenseAdapter, Precision, promising

_TYPES = {torch.float16: openvino.Type.f16, torch.bfloat16: openvino.Type.bf16, torch.float32: openvino.Type.f32}


def sdpa(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float, precision: str = "") -> Tensor:  # noqa: ARG001
    """Its scale is left out, since the default is ours, and a given one has a finding of its own (docs/findings.md)."""
    out = torch.empty(q.shape, dtype=q.dtype)
    request = _request(q.dtype, causal, precision)
    request.set_output_tensor(0, _shared(out))
    inputs = [x.contiguous() for x in (q, k, v)]  # named, so that the shared memory outlives the call
    request.infer([_shared(x) for x in inputs])
    return out


def _shared(x: Tensor) -> Any:
    """The same memory as a tensor of theirs; NumPy has no bfloat16."""
    numbers = x.view(torch.int16).numpy() if x.dtype == torch.bfloat16 else x.numpy()
    return openvino.Tensor(numbers, openvino.Shape([1, *x.shape]), _TYPES[x.dtype])


@cache
def _request(dtype: torch.dtype, causal: bool, precision: str) -> Any:
    inputs = [opset13.parameter([1, -1, -1, -1], _TYPES[dtype]) for _ in range(3)]
    node = opset13.scaled_dot_product_attention(*inputs, causal=causal)
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1}
    if precision:
        options["INFERENCE_PRECISION_HINT"] = precision
    model = openvino.Model([node], inputs, "one")
    return openvino.Core().compile_model(model, "CPU", options).create_infer_request()


class Sdpa(DenseAdapter):
    """In bfloat16: "On platforms that natively support bfloat16 calculations, the bf16 type is automatically used
    instead of f32" (CPU device, Floating-Point Data Types Specifics), inputs of other dtypes included.
    """

    name = "openvino/sdpa"
    contract = promising("bfloat16")
    # The scale is of the query's type, in the specification of the operation: rounded as a scaled query would be.
    precision = Precision(probabilities=INPUT, scaled_query=True, flushing=True)

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        return sdpa(q, k, v, causal, scale)


class SdpaF32(DenseAdapter):
    """With the inference precision f32, in which "all calculations are performed using the native precision of f32"."""

    name = "openvino/sdpa+f32"
    contract = promising("float16", "float32")
    precision = Precision(scaled_query=True)

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        return sdpa(q, k, v, causal, scale, "f32")
