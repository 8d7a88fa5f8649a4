"""torch: a boolean mask is documented as -inf that is added to the scores, and inf - inf is NaN."""

import sys

import torch
from torch.nn.functional import scaled_dot_product_attention

q, k, v = torch.tensor([[[[1e30]]]]), torch.tensor([[[[0.0], [1e30]]]]), torch.tensor([[[[1.0], [2.0]]]])
got = scaled_dot_product_attention(q, k, v, attn_mask=torch.tensor([[True, False]])).item()
print(f"got {got}, owed 1.0")
sys.exit(got != 1.0)
