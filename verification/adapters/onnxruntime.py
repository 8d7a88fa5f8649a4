"""onnxruntime's attention operators on a processor."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]
import torch
from onnx import TensorProto, helper
from torch import Tensor

from verification.adapter import INPUT, DenseAdapter, Precision, Weaker, promising

_TYPES = {torch.float16: TensorProto.FLOAT16, torch.float32: TensorProto.FLOAT, torch.float64: TensorProto.DOUBLE}
SPECIFICATION = "onnx/defs/nn/old.cc"
_KERNELS = "https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md"
_CONTRIBUTED = "https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md"
_SOFTMAX = "If softmax precision is not provided, the same precision as the input of softmax (Q and K) is used."
# Lines that hold of its masks too.
LINES = (
    Weaker("dtypes", "**T1** = tensor(float), tensor(float16)", _KERNELS, "it has no such kernel", ("bfloat16",)),
    Weaker("scores", _SOFTMAX, SPECIFICATION, "the specification says so"),
    Weaker("probabilities", _SOFTMAX, SPECIFICATION, "the specification says so"),
    Weaker("nonfinite", "", SPECIFICATION, "nothing is said of NaN and Inf; what hides is findings 1"),
)


@cache
def _open_attention(dtype: torch.dtype, causal: bool) -> Any:
    node = helper.make_node("Attention", ["q", "k", "v"], ["o"], is_causal=int(causal))
    return _open_ranked(node, dtype, dict.fromkeys("qkv", 4), {"o": 4})


@cache
def _open_group_query_attention(dtype: torch.dtype, heads: int) -> Any:
    names = ["q", "k", "v", "past_k", "past_v", "past_and_new_less_one", "longest"]
    inputs = dict(zip(names, (3, 3, 3, 4, 4, 1, 1), strict=True))
    outputs = {"o": 3, "present_k": 4, "present_v": 4}
    sizes: dict[str, Any] = {"domain": "com.microsoft", "num_heads": heads, "kv_num_heads": heads}
    return _open_ranked(helper.make_node("GroupQueryAttention", names, list(outputs), **sizes), dtype, inputs, outputs)


def _open_ranked(node: Any, dtype: torch.dtype, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    """Return a session of one operator, by the ranks of inputs and outputs: rank 1 is int32, any other is ``dtype``."""

    def infos(ranks: dict[str, int]) -> list[Any]:
        kinds = {name: _TYPES[dtype] if rank > 1 else TensorProto.INT32 for name, rank in ranks.items()}
        return [helper.make_tensor_value_info(name, kinds[name], [None] * rank) for name, rank in ranks.items()]

    return open_session(node, infos(inputs), infos(outputs))


def open_session(node: Any, inputs: list[Any], outputs: list[Any]) -> Any:
    """Return a session of one operator, on one thread. Errors are raised, and not logged besides."""
    graph = helper.make_graph([node], "one", inputs, outputs)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    versions = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class Attention(DenseAdapter):
    """``Attention`` of opset 24. Its schema allows bfloat16 too, for which the CPU provider has no kernel.

    The operator's ``scale`` is left out: it is a float32 attribute, which would round the scale of a float64 problem,
    and its default is ours, 1 / sqrt(head_size).
    """

    name = "onnxruntime/Attention"
    contract = promising("float16", "float32", "float64")
    # Operators.md, Attention, softmax_precision: "If softmax precision is not provided, the same precision as the input
    # of softmax (Q and K) is used."
    precision = Precision(scores=INPUT, probabilities=INPUT)
    weaker = LINES

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:  # noqa: ARG002
        inputs = {name: x.numpy()[None] for name, x in (("q", q), ("k", k), ("v", v))}
        return torch.from_numpy(_open_attention(q.dtype, causal).run(None, inputs)[0][0])


class GroupQueryAttention(DenseAdapter):
    """``GroupQueryAttention`` with a kv head for each head: groups are expanded by the layer around it.

    A row that sees every key is a decode step of its own, whose past is all keys but the last. The operator refuses a
    head_size that 8 does not divide.
    """

    name = "onnxruntime/GroupQueryAttention"
    contract = promising("float16", "float32", head_dims=(16, 64, 80, 128))
    # ContribOperators.md is silent. Both products and the softmax are float32 (cpu/bert/gqa_attention_base.h).
    precision = Precision()
    weaker = (
        Weaker("dtypes", "", _CONTRIBUTED, "arrays come by NumPy, which has no bfloat16", ("bfloat16",)),
        Weaker("dtypes", "", _CONTRIBUTED, "it has no such kernel", ("float64",)),
        Weaker("head_dims", "", _CONTRIBUTED, "others are refused: a head has to be a multiple of 8 numbers wide"),
        Weaker("nonfinite", "", _CONTRIBUTED, "nothing is said of NaN and Inf"),
    )

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:  # noqa: ARG002
        heads, queries, dim = q.shape
        steps, new = (1, queries) if causal else (queries, 1)
        past = k.shape[1] - new

        def tokens(x: Tensor) -> Any:
            """Return the tokens of each step, ``[steps, new, H * D]``."""
            return x.transpose(0, 1).reshape(-1, new, heads * dim).expand(steps, -1, -1).numpy()

        inputs = {"q": tokens(q), "k": tokens(k[:, past:]), "v": tokens(v[:, past:])}
        inputs |= {name: x[:, :past].expand(steps, -1, -1, -1).numpy() for name, x in (("past_k", k), ("past_v", v))}
        inputs["past_and_new_less_one"] = np.full(steps, past + new - 1, np.int32)
        inputs["longest"] = np.array([past + new], np.int32)
        output = _open_group_query_attention(q.dtype, heads).run(["o"], inputs)[0]
        return torch.from_numpy(output).reshape(queries, heads, dim).transpose(0, 1)
