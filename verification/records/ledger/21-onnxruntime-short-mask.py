"""onnxruntime: of a mask "the last dimension can also be shorter than total_sequence_length and will be padded to
total_sequence_length with negative infinity". Such a mask is refused.
"""

import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in "qkvmo"]
node = helper.make_node("Attention", ["q", "k", "v", "m"], ["o"])
graph = helper.make_graph([node], "one", infos[:4], infos[4:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
q, k, v = (np.array(x, np.float32).reshape(1, 1, -1, 1) for x in ([1], [0, 0, 0], [1, 2, 6]))
try:
    got = session.run(None, {"q": q, "k": k, "v": v, "m": np.zeros((1, 1, 1, 2), np.float32)})[0].item()
except Exception as error:  # onnxruntime's own errors have no other base
    got = f"{type(error).__name__}: ...{str(error).strip()[-100:]}"
print(f"got {got}, owed 1.5")  # the mean of the first two values
sys.exit(got != 1.5)
