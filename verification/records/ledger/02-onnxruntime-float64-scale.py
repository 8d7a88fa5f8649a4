"""ONNX: "Default value is 1/sqrt(head_size)"; a float64 problem gets it in float32's accuracy."""

import math
import sys

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

node = helper.make_node("Attention", ["q", "k", "v"], ["o"])
infos = {name: helper.make_tensor_value_info(name, TensorProto.DOUBLE, [1, 1, None, 2]) for name in "qkvo"}
graph = helper.make_graph([node], "one", [infos[name] for name in "qkv"], [infos["o"]])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
q, k, v = (np.array(x, np.float64).reshape(1, 1, -1, 2) for x in ([1, 0], [[1, 0], [0, 0]], [[0, 0], [0, 1]]))

got = session.run(None, {"q": q, "k": k, "v": v})[0].ravel().tolist()[1]
owed = 1 / (1 + math.exp(1 / math.sqrt(2)))
print(f"got {got}, owed {owed}")
sys.exit(abs(got - owed) > 1e-14)
