"""torch: the documented equivalent of SDPA gives softmax(NaN) @ V, NaN; the flash kernel for CPU gives 0."""

import math
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

one = torch.ones(1, 1, 1, 1)
with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
    got = scaled_dot_product_attention(one * torch.nan, one, one).item()
with sdpa_kernel(SDPBackend.MATH):
    plain = scaled_dot_product_attention(one * torch.nan, one, one).item()
print(f"got {got}, owed nan (the math kernel gives {plain})")
sys.exit(not math.isnan(got))
