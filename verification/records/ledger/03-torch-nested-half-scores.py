"""torch: "For math backend, all intermediates are kept in torch.float if inputs are in torch.half". Not nested ones:
a score of -90,000 is -inf, and the row 0 instead of its only value.
"""

import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

q, k, v = (torch.full((1, 1, 1), x, dtype=torch.float16) for x in (300.0, -300.0, 1.0))
nested = (torch.nested.nested_tensor([x], layout=torch.jagged).transpose(1, 2) for x in (q, k, v))
with sdpa_kernel(SDPBackend.MATH):
    got = scaled_dot_product_attention(*nested).values().item()
    dense = scaled_dot_product_attention(q[None], k[None], v[None]).item()
print(f"got {got}, owed 1.0 (a dense tensor gets {dense})")
sys.exit(got != 1.0)
