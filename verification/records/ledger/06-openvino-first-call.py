"""openvino: MatMul(Softmax(attn_weight), value) of equal values is that value. At f32 and with a given scale, a model
that was first asked with 1 key answers otherwise for 16.
"""

import sys

import numpy as np
import openvino
from openvino import opset13

f32 = openvino.Type.f32
inputs = [opset13.parameter([1, 1, -1, -1], f32) for _ in range(3)]
node = opset13.scaled_dot_product_attention(*inputs, scale=opset13.constant(1.0, f32), causal=False)
model = openvino.Model([node], inputs, "one")
compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def asked(keys: int) -> float:
    return compiled([np.ones((1, 1, n, 1), np.float32) for n in (1, keys, keys)])[0].item()


got = [asked(1), asked(16)]
print(f"got {got}, owed [1.0, 1.0]")
sys.exit(not np.allclose(got, 1.0))
