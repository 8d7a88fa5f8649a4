"""jax: dot_product_attention of float16 works on a processor, and raises there under jax.jit."""

import os
import sys

os.environ["JAX_PLATFORMS"] = "cpu"  # elsewhere it works

import jax
import jax.numpy as jnp

x = jnp.ones((1, 1, 1, 1), jnp.float16)
owed = jax.nn.dot_product_attention(x, x, x).item()
try:
    got = str(jax.jit(jax.nn.dot_product_attention)(x, x, x).item())
except ValueError as error:
    got = f"ValueError: {str(error).splitlines()[0]}"
print(f"got {got}, owed {owed}")
sys.exit(got != str(owed))
