"""What torch's kernels round."""

from __future__ import annotations

from verification.oracle.precision import INPUT, Precision

# Flash kernels keep scores and sums in float32, and cast the weights to the values' format for the second product.
# On the CPU fp16 and bf16 go through a shorter polynomial for exp (torch's fexp_u20), good to 1.07e-4; processors that
# multiply bfloat16 matrices flush subnormal numbers there.
FLASH_ON_CPU = Precision(probabilities=INPUT, exp_error=2.0**-13, flushing=True)
# The same on matrix units, which align the products of a sum and cut off what falls below (Fasi, Higham, Mikaitis and
# Pranesh, Numerical Behavior of NVIDIA Tensor Cores, 2021).
FLASH_ON_MATRIX_UNITS = Precision(probabilities=INPUT, truncating=True)
# Compiled so that subnormal numbers are flushed: seen on an H100, in bfloat16 and float32.
FLUSHING_FLASH = Precision(probabilities=INPUT, truncating=True, flushing=True)
# A context in parts: by kernels whose parts come out in the input's format, or by products in the accumulator's, where
# prefill goes through the flash kernel.
SPLIT_FLASH = Precision(probabilities=INPUT, truncating=True, flushing=True, partials=INPUT)
SPLIT_ON_CPU = Precision(probabilities=INPUT, exp_error=2.0**-13, flushing=True, partials="float32")
# The math path widens fp16 and bf16 to float32 first, unless allow_fp16_bf16_reduction_math_sdp tells it otherwise.
MATH = Precision()
