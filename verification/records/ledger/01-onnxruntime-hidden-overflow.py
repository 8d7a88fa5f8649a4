"""ONNX hides a key by -inf; onnxruntime's CPU kernel adds the lowest float16, to a hidden score that has overflowed."""

import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

node = helper.make_node("Attention", ["q", "k", "v"], ["o"], is_causal=1)
infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 1, 2, 1]) for name in "qkvo"}
graph = helper.make_graph([node], "one", [infos[name] for name in "qkv"], [infos["o"]])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
q, k, v = (np.array(x, np.float16).reshape(1, 1, 2, 1) for x in ([300, 0], [0, 300], [0, 1]))

got = session.run(None, {"q": q, "k": k, "v": v})[0].ravel().tolist()
owed = [0.0, 0.5]  # row 0 sees key 0 alone: the hidden score is 90,000
print(f"got {got}, owed {owed}")
sys.exit(got != owed)
