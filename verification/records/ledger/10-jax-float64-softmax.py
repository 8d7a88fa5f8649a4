"""jax: the softmax of float64 scores "is always carried out in fp32" (jax/_src/nn/functions.py)."""

import math
import sys

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)
q, k, v = (jnp.array(x, jnp.float64).reshape(1, -1, 1, 1) for x in ([1], [1, 0], [0, 1]))
got = jax.nn.dot_product_attention(q, k, v, scale=1.0).item()
owed = 1 / (1 + math.e)
print(f"got {got}, owed {owed}")
sys.exit(abs(got - owed) > 1e-14)
