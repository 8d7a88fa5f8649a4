"""jax: a boolean mask "where True indicates the element should take part in attention". Where it shows a row nothing,
every key takes part: the row is the mean of all values.
"""

import sys

import jax
import jax.numpy as jnp

q, k, v = (jnp.array(x, jnp.float32).reshape(1, -1, 1, 1) for x in ([1], [1, 2], [1, 3]))
got = float(jax.nn.dot_product_attention(q, k, v, mask=jnp.zeros((1, 1, 1, 2), bool))[0, 0, 0, 0])
print(f"got {got}, owed 0.0")
sys.exit(got == 2.0)
