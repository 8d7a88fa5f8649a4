"""openvino: MatMul(Softmax(attn_weight), value) of equal values is that value. On a processor with AMX a bfloat16 model
that was first asked with a head size of 1 answers otherwise for 16 and more.
"""

import sys
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13

flags = Path("/proc/cpuinfo")
if not flags.exists() or "amx_bf16" not in flags.read_text():
    print("needs a processor with AMX (amx_bf16)")
    sys.exit(2)
bf16 = openvino.Type.bf16
inputs = [opset13.parameter([1, -1, -1, -1], bf16) for _ in range(3)]
node = opset13.scaled_dot_product_attention(*inputs, causal=False)
request = openvino.Core().compile_model(openvino.Model([node], inputs, "one"), "CPU").create_infer_request()


def ask(dim: int) -> float:
    """Return the number that is furthest from 1 in means of ones. NumPy has no bfloat16: a one is 0x3F80."""
    arrays = [np.full((1, 1, 2, dim), 0x3F80, np.uint16) for _ in inputs]  # named, so that they outlive the call
    request.infer([openvino.Tensor(x, openvino.Shape(x.shape), bf16) for x in arrays])
    bits = np.frombuffer(np.array(request.get_output_tensor(0).data).tobytes(), np.uint16)
    found = np.nan_to_num((bits.astype(np.uint32) << 16).view(np.float32), nan=np.inf)
    return found[np.argmax(np.abs(found - 1))].item()


got = [ask(1), ask(16), ask(64)]
print(f"got {got}, owed [1.0, 1.0, 1.0]")
sys.exit(got != [1.0, 1.0, 1.0])
