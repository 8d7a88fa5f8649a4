"""JAX's dot_product_attention, compiled by XLA for a processor."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from verification.adapter import INPUT, DenseAdapter, Precision, Weaker, promising

# XLA compiles for each size. So calls are padded to a few sizes, and give their lengths as its documentation says. The
# sizes end at 640 tokens and 16 heads, which hold the largest problems that are drawn (600 tokens, 16 heads).
_LENGTHS, _HEADS = (4, 32, 128, 640), 16

DOCUMENTATION, SOURCE = "jax.nn.dot_product_attention", "jax/_src/nn/functions.py"
# Lines that hold of its masks too.
LINES = (
    Weaker("dtypes", "Softmax and it is always carried out in fp32.", SOURCE, "findings 10", ("float64",)),
    Weaker("nonfinite", "", DOCUMENTATION, "nothing is said of NaN and Inf"),
    Weaker("head_dims", "", DOCUMENTATION, "XLA compiles for each size: some are asked"),
    Weaker(
        "probabilities",
        "probs = softmax(padded_logits, axis=-1).astype(key.dtype)",
        SOURCE,
        "the weights are cast to the keys' dtype, as the source says and the documentation does not",
    ),
    Weaker("flushing", "", DOCUMENTATION, "XLA takes subnormal numbers for 0 on a processor"),
)


class DotProductAttention(DenseAdapter):
    """JAX's attention in all dtypes but float64.

    jax has float64 only where jax_enable_x64 is set, and its softmax "is always carried out in fp32"
    (jax/_src/nn/functions.py).
    """

    name = "jax/dot_product_attention"
    contract = promising("float16", "bfloat16", "float32", head_dims=(16, 64, 128), longest=_LENGTHS[-1])
    # From the source, since the documentation is silent: products are summed in float32, the softmax is in float32, and
    # the weights are cast to the keys' dtype. XLA flushes subnormal numbers.
    precision = Precision(probabilities=INPUT, flushing=True)
    weaker = (*LINES, Weaker("longest", "", DOCUMENTATION, "calls are padded to lengths that XLA has compiled for"))

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        heads, queries, _ = q.shape
        room = next(length for length in _LENGTHS if length >= max(queries, k.shape[1]))
        lengths = [jnp.array([x.shape[1]], jnp.int32) for x in (q, k)]
        padded = []
        for x in (q, k, v):
            whole = x.new_zeros(1, room, _HEADS, x.shape[2])
            whole[0, : x.shape[1], :heads] = x.transpose(0, 1)
            padded.append(jnp.from_dlpack(whole))
        # Not under jax.jit, where float16 raises on a processor (docs/findings.md, 9).
        output = jax.nn.dot_product_attention(
            *padded, scale=scale, is_causal=causal, query_seq_lengths=lengths[0], key_value_seq_lengths=lengths[1]
        )
        return from_dlpack(output)[0, :queries, :heads].transpose(0, 1).clone()
