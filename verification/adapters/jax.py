"""JAX's dot_product_attention, compiled by XLA for a processor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from verification.adapter import INPUT, DenseAdapter, Precision, promising

# XLA compiles for each size. So calls are padded to a few of them, and say their lengths as its documentation has it.
_LENGTHS, _HEADS = (4, 32, 128, 640), 16


def dot_product_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
    heads, queries, _ = q.shape
    room = next(length for length in _LENGTHS if length >= max(queries, k.shape[1]))
    lengths = [jnp.array([x.shape[1]], jnp.int32) for x in (q, k)]
    padded = []
    for x in (q, k, v):
        whole = x.new_zeros(1, room, _HEADS, x.shape[2])
        whole[0, : x.shape[1], :heads] = x.transpose(0, 1)
        padded.append(jnp.from_dlpack(whole))
    # Not under jax.jit, where float16 raises on a processor (docs/findings.md).
    output = jax.nn.dot_product_attention(
        *padded, scale=scale, is_causal=causal, query_seq_lengths=lengths[0], key_value_seq_lengths=lengths[1]
    )
    return from_dlpack(output)[0, :queries, :heads].transpose(0, 1).clone()


class DotProductAttention(DenseAdapter):
    """Without float64: jax has it only where jax_enable_x64 is set, and its softmax "is always carried out in fp32"
    (jax/_src/nn/functions.py).
    """

    name = "jax/dot_product_attention"
    contract = promising("float16", "bfloat16", "float32", head_dims=(16, 64, 128), longest=_LENGTHS[-1])
    # The documentation says nothing of it. The source asks for products summed in float32 and a softmax in float32, and
    # casts the weights to the keys' dtype. XLA runs with subnormal numbers flushed.
    precision = Precision(probabilities=INPUT, flushing=True)

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        return dot_product_attention(q, k, v, causal, scale)
