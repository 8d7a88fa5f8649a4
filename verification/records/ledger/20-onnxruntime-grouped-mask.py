"""onnxruntime: a mask "must be broadcastable to (batch_size, q_num_heads, q_sequence_length, total_sequence_length)".
Some releases refuse it where query heads outnumber kv heads.
"""

import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in "qkvmo"]
node = helper.make_node("Attention", ["q", "k", "v", "m"], ["o"])
graph = helper.make_graph([node], "one", infos[:4], infos[4:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
q, k = np.ones((1, 2, 1, 1), np.float32), np.ones((1, 1, 2, 1), np.float32)  # two query heads, one kv head
try:
    got = session.run(None, {"q": q, "k": k, "v": k, "m": np.zeros((1, 2, 1, 2), np.float32)})[0].flatten().tolist()
except Exception as error:  # onnxruntime's own errors have no other base
    got = f"{type(error).__name__}: ...{str(error).strip()[-100:]}"
owed = [1.0, 1.0]
print(f"got {got}, owed {owed}")
sys.exit(got != owed)
