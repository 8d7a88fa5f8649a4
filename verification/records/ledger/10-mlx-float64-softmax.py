"""mlx on a processor, float64: "The softmax operation is performed in float32 regardless of the input precision"."""

import math
import sys

import mlx.core as mx
import numpy as np

mx.set_default_device(mx.cpu)  # the one that has float64
q, k, v = (mx.array(x, mx.float64).reshape(1, 1, -1, 1) for x in ([1], [1, 0], [0, 1]))
got = np.array(mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0)).item()
owed = 1 / (1 + math.e)
print(f"got {got}, owed {owed}")
sys.exit(abs(got - owed) > 1e-14)
