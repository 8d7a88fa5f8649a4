"""Roundings of torch's kernels, one `Precision` for each family."""

from __future__ import annotations

from dataclasses import replace

from verification.oracle.precision import INPUT, Precision

# Flash kernels keep scores and sums in float32, and cast the weights to the values' format for the second product. On
# a processor fp16 and bf16 use a shorter polynomial for exp (torch's fexp_u20), whose error of 1.07e-4 is below 2^-13.
# Processors that multiply bfloat16 matrices flush subnormal numbers in them.
FLASH_ON_CPU = Precision(probabilities=INPUT, exp_error=2.0**-13, flushing=True)
# The same on matrix units, which align the products of a sum and cut off what falls below (Fasi, Higham, Mikaitis and
# Pranesh, Numerical Behavior of NVIDIA Tensor Cores, 2021).
FLASH_ON_MATRIX_UNITS = Precision(probabilities=INPUT, truncating=True)
# FlashAttention 2, torch's own on CUDA, splits a context where few blocks would leave the device idle: its `mha_fwd`
# calls `set_params_splitkv` with ``num_splits`` 0, "internal heuristic". Parts are in float32, and are merged without a
# division: ``scales exp(lse - lse_logsum)`` in `combine_attn_seqk_parallel`.
FLASH_2 = replace(FLASH_ON_MATRIX_UNITS, partials="float32", merge="lse")
# Compiled so that subnormal numbers are flushed: seen on an H100, in bfloat16 and float32.
FLUSHING_FLASH = Precision(probabilities=INPUT, truncating=True, flushing=True)
# Decodes that merge a context from parts. On CUDA the parts come out of kernels, in the input's format; on a processor
# they are products in float32, and only a prefill goes through the flash kernel.
SPLIT_FLASH = Precision(probabilities=INPUT, truncating=True, flushing=True, partials=INPUT)
SPLIT_ON_CPU = Precision(probabilities=INPUT, exp_error=2.0**-13, flushing=True, partials="float32")
# The math path widens fp16 and bf16 to float32 first, unless `torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp`
# is set.
MATH = Precision()
