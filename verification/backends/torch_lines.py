"""Lines about what torch's kernels declare, for `kernels.py` and for adapters of the same kernels."""

from __future__ import annotations

from verification.backends.documented import Weaker
from verification.oracle.precision import Precision

SDPA = "torch.nn.functional.scaled_dot_product_attention"
FLEX = "torch.nn.attention.flex_attention.flex_attention"
_FLEX_EAGER = "torch/_higher_order_ops/flex_attention.py"
_FUSED = (
    "Due to the nature of fusing floating point operations, the output of this function may be different depending on "
    "what backend kernel is chosen."
)
_LIMITED = "Each of the fused kernels has specific input limitations."
_SOFTMAX = "attn_weight = torch.softmax(attn_weight, dim=-1)"
_SUBNORMAL = "a processor's bfloat16 instructions take subnormal numbers for 0, as in findings 3"
_CAST = "the weights are cast to the values' dtype before the second product"

NAN_IN_SDPA = (Weaker("nonfinite", _SOFTMAX, SDPA, "findings 4, 7"),)
FLASH_ON_CPU_LINES = (
    *NAN_IN_SDPA,
    Weaker("probabilities", _FUSED, SDPA, _CAST),
    Weaker("exp_error", _FUSED, SDPA, "the exp for 16-bit inputs is a short polynomial, good to 2^-13"),
    Weaker("flushing", "", SDPA, _SUBNORMAL),
)
# What FlashAttention 2 does in a split, which torch asks of it where the device has cores to spare.
SPLIT = (
    Weaker("partials", "", SDPA, "a few long sequences are split over the device's cores, and their parts are merged"),
    Weaker("merge", "", SDPA, "parts are weighted by exp(lse - total), as in FlashAttention 2's combine kernel"),
)
MATRIX_UNITS = (
    Weaker("probabilities", _FUSED, SDPA, _CAST),
    Weaker("truncating", "", SDPA, "matrix units cut off what lies below the largest product of a sum"),
)
FLUSHING = Weaker("flushing", "", SDPA, "its code is compiled so that subnormal numbers become 0: seen on an H100")
HEAD_DIMS = Weaker("head_dims", _LIMITED, SDPA, "rows are loaded by 16 bytes")
NAN_IN_FLEX = Weaker("nonfinite", "", FLEX, "nothing is said of NaN and Inf")
COMPILED = (
    NAN_IN_FLEX,
    Weaker("dtypes", "", FLEX, "a compiled kernel is not asked in float64", ("float64",)),
    Weaker("head_dims", "", FLEX, "a kernel is compiled for each size: three are asked"),
    Weaker("probabilities", "", FLEX, _CAST),
    MATRIX_UNITS[1],
)


def on_cuda(*missing: str) -> tuple[Weaker, ...]:
    """Return the lines of a fused kernel for CUDA that does not take the ``missing`` dtypes."""
    return (*NAN_IN_SDPA, *MATRIX_UNITS, HEAD_DIMS, Weaker("dtypes", _LIMITED, SDPA, "it takes no others", missing))


def flex_eager_lines(precision: Precision) -> tuple[Weaker, ...]:
    """Return the lines of FlexAttention's eager path, which rounds more in some releases of torch than in others."""
    in_tensors = (
        "A scalar tensor representing the attention score, with the same data type and device as the query, key, and "
        "value tensors."
    )
    known = (
        NAN_IN_FLEX,
        Weaker(
            "probabilities", "Scores and Values are dtype cast to input query.dtype at the end.", _FLEX_EAGER, _CAST
        ),
        Weaker("flushing", "", FLEX, _SUBNORMAL),
        Weaker("scores", in_tensors, FLEX, "in some releases q and k are not widened before their product"),
        Weaker("unscaled_scores", in_tensors, FLEX, "in some releases the product is kept before it is scaled"),
    )
    return tuple(
        line
        for line in known
        if line.field not in vars(precision) or getattr(precision, line.field) != getattr(Precision(), line.field)
    )
