"""mlx on a processor: a row that a boolean mask shows nothing is the mean of all values, though no key is to be seen.
Under an additive mask of -inf, which hides as much, it is NaN.
"""

import sys

import mlx.core as mx

mx.set_default_device(mx.cpu)
q, k, v = (mx.array(x, mx.float32).reshape(1, 1, -1, 1) for x in ([1], [1, 2], [1, 3]))
masks = mx.zeros((1, 1, 1, 2), mx.bool_), mx.full((1, 1, 1, 2), -mx.inf)
got = [mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0, mask=mask).item() for mask in masks]
print(f"got {got}, owed [0.0, 0.0]")
sys.exit(got[0] == 2.0)
