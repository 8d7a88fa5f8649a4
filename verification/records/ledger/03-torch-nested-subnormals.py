"""torch: nested bfloat16 tensors are multiplied by bfloat16 instructions, which flush subnormal numbers."""

import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

if not torch.cpu._is_avx512_bf16_supported():
    print("needs a processor with AVX512_BF16")
    sys.exit(2)
q, k, v = (torch.full((1, 1, 16, 32), x, dtype=torch.bfloat16) for x in (1.0, 1.0, 1e-39))
nested = (torch.nested.nested_tensor([x[0, 0, :, None]], layout=torch.jagged).transpose(1, 2) for x in (q, k, v))
with sdpa_kernel(SDPBackend.MATH):
    got = scaled_dot_product_attention(*nested).values().flatten()[0].item()
owed = v.flatten()[0].item()  # a mean of equal values
print(f"got {got}, owed {owed}")
sys.exit(got != owed)
