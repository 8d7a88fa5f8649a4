"""openvino: a float32 model is computed in bfloat16, as documented, where the processor natively can."""

import math
import sys

import numpy as np
import openvino
from openvino import opset13

core = openvino.Core()
if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
    print("needs a processor with bfloat16")
    sys.exit(2)
inputs = [opset13.parameter([1, 1, -1, 1], openvino.Type.f32) for _ in range(3)]
node = opset13.scaled_dot_product_attention(*inputs, causal=False)
compiled = core.compile_model(openvino.Model([node], inputs, "one"), "CPU")
got = compiled([np.array(x, np.float32).reshape(1, 1, -1, 1) for x in ([1], [1, 0], [0, 1])])[0].item()
owed = 1 / (1 + math.e)
print(f"got {got}, owed {owed}")
sys.exit(abs(got - owed) > 1e-6)
