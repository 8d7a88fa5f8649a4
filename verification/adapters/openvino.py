"""OpenVINO's ScaledDotProductAttention on a processor, at its own choice of precision and at float32."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import openvino  # type: ignore[import-untyped, import-not-found, unused-ignore]
import torch
from openvino import opset13  # type: ignore[import-untyped, import-not-found, unused-ignore]
from torch import Tensor

from verification.adapter import INPUT, DenseAdapter, Precision, Weaker, promising

_TYPES = {torch.float16: openvino.Type.f16, torch.bfloat16: openvino.Type.bf16, torch.float32: openvino.Type.f32}
_PAGES = "https://github.com/openvinotoolkit/openvino/blob/master/docs/articles_en/"
_CPU = _PAGES + "openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.rst"
_OPERATION = _PAGES + "documentation/openvino-ir-format/operation-sets/operation-specs/sequence/"
_SPECIFICATION = _OPERATION + "scaled-dot-product-attention.rst"
_HALVES = (
    "On platforms that natively support half-precision calculations (`bfloat16` or `float16`), the half-precision type "
    "(`bf16` or `f16`) is automatically used instead of `f32` to achieve better performance"
)
_FORMATS = "CPU plugin supports the following floating-point data types as inference precision of internal primitives"
_OF_BOTH = (
    Weaker("dtypes", _FORMATS, _CPU, "f64 is not among them", ("float64",)),
    Weaker(
        "scaled_query",
        "scale = 1.0 / Sqrt(ConvertLike(Gather(ShapeOf(query), -1), query))",
        _SPECIFICATION,
        "the scale has the query's type, as the specification says: it is rounded as a scaled query would be",
    ),
    Weaker("nonfinite", "", _SPECIFICATION, "nothing is said of NaN and Inf"),
)


def _share(x: Tensor) -> Any:
    """Return a tensor of OpenVINO's over the memory of ``x``, by way of NumPy, to which bfloat16 goes as integers."""
    numbers = x.view(torch.int16).numpy() if x.dtype == torch.bfloat16 else x.numpy()
    return openvino.Tensor(numbers, openvino.Shape([1, *x.shape]), _TYPES[x.dtype])


def _compile(dtype: torch.dtype, causal: bool, precision: str) -> Any:
    """Return a model of the operation at ``precision``, or at OpenVINO's own choice where that is empty.

    The operation's scale is left out: its default is ours, and a given scale has a finding of its own
    (docs/findings.md, 6).
    """
    inputs = [opset13.parameter([1, -1, -1, -1], _TYPES[dtype]) for _ in range(3)]
    node = opset13.scaled_dot_product_attention(*inputs, causal=causal)
    options: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1}
    if precision:
        options["INFERENCE_PRECISION_HINT"] = precision
    model = openvino.Model([node], inputs, "one")
    return openvino.Core().compile_model(model, "CPU", options).create_infer_request()


class Sdpa(DenseAdapter):
    """OpenVINO at its own choice of precision, in bfloat16 alone.

    Its documentation says "On platforms that natively support bfloat16 calculations, the bf16 type is automatically
    used instead of f32" (CPU device, Floating-Point Data Types Specifics), for inputs of other dtypes too. An adapter
    keeps its models for itself: what one was asked before changes its answers (docs/findings.md, 6 and 19), and an
    adapter that is made anew has been asked nothing.
    """

    name = "openvino/sdpa"
    contract = promising("bfloat16")
    # The specification of the operation gives the scale the query's type: it is rounded as a scaled query would be.
    precision = Precision(probabilities=INPUT, scaled_query=True, flushing=True)
    weaker: ClassVar[tuple[Weaker, ...]] = (
        *_OF_BOTH,
        Weaker("dtypes", _HALVES, _CPU, "findings 11", ("float16", "float32")),
        Weaker("probabilities", _HALVES, _CPU, "the documentation says so"),
        Weaker("flushing", "", _CPU, "a processor's bfloat16 instructions take subnormal numbers for 0"),
    )
    inference_precision = ""

    def __init__(self) -> None:
        self._model = cache(_compile)

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:  # noqa: ARG002
        out = torch.empty(q.shape, dtype=q.dtype)
        model = self._model(q.dtype, causal, self.inference_precision)
        model.set_output_tensor(0, _share(out))
        inputs = [x.contiguous() for x in (q, k, v)]  # named, so that the shared memory outlives the call
        model.infer([_share(x) for x in inputs])
        return out


class SdpaF32(Sdpa):
    """OpenVINO at f32, where "all calculations are performed using the native precision of f32"."""

    name = "openvino/sdpa+f32"
    inference_precision = "f32"
    contract = promising("float16", "float32")
    precision = Precision(scaled_query=True)
    weaker = (*_OF_BOTH, Weaker("dtypes", _HALVES, _CPU, "`Sdpa` is asked in it", ("bfloat16",)))
