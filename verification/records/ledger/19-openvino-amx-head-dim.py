"""openvino: MatMul(Softmax(attn_weight), value) of equal values is that value. At the default precision on a processor
with AMX, a model that was first asked with a head size of 1 answers otherwise for 16 and 64.
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
inputs = [opset13.parameter([1, -1, -1, -1], openvino.Type.bf16) for _ in range(3)]
node = opset13.scaled_dot_product_attention(*inputs, causal=False)
compiled = openvino.Core().compile_model(openvino.Model([node], inputs, "one"), "CPU")
request = compiled.create_infer_request()


def ask(dim: int) -> float:
    """Return the number of a mean of ones that is furthest from 1: bfloat16's ones, 0x3F80, as NumPy has no bfloat16."""
    ones = [openvino.Tensor(np.full((1, 1, 2, dim), 0x3F80, np.uint16), [1, 1, 2, dim], openvino.Type.bf16) for _ in "qkv"]
    request.infer(ones)
    out = request.get_output_tensor(0)
    found = (np.frombuffer(out.data.tobytes(), np.uint16).astype(np.uint32) << 16).view(np.float32)
    return found[np.nanargmax(np.abs(found - 1))].item()


got = [ask(1), ask(16), ask(64)]
print(f"got {got}, owed [1.0, 1.0, 1.0]")
sys.exit(not np.allclose(got, 1.0, rtol=2**-7))
