"""torch: the documented equivalent of SDPA hides by -inf; cuDNN under a boolean mask hides by a finite penalty."""

import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

if not torch.cuda.is_available():
    print("needs a CUDA device")
    sys.exit(2)
q, k, v = (torch.zeros(1, 1, 2, 16, dtype=torch.float16, device="cuda") for _ in range(3))
q[..., 0, 14:] = 257
k[..., 0, 14:] = torch.tensor([-498.0, -655.0])  # the visible score is -74,080, the hidden one 0
v[..., 1, 15] = 1
with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
    out = scaled_dot_product_attention(q, k, v, torch.ones(2, 2, dtype=torch.bool, device="cuda").tril())
got = out[0, 0, 0, 15].item()
print(f"got {got}, owed 0.0")
sys.exit(got != 0.0)
