"""mlx on a processor: "The softmax operation is performed in float32 regardless of the input precision", on scores that
were rounded to bfloat16 before.
"""

import math
import sys

import mlx.core as mx

mx.set_default_device(mx.cpu)
q = mx.array([1, 1], mx.bfloat16).reshape(1, 1, 1, 2)
k = mx.array([256, 0, 256, 1], mx.bfloat16).reshape(1, 1, 2, 2)  # scores of 256 and 257, which float32 holds
v = mx.array([0, 0, 1, 1], mx.bfloat16).reshape(1, 1, 2, 2)
out = mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0)
got, owed = out.astype(mx.float32)[0, 0, 0, 0].item(), 1 / (1 + math.exp(-1))
print(f"got {got}, owed {owed}")
sys.exit(abs(got - owed) > 2**-7)
