"""torch: "Scaling factor applied prior to softmax", and the mask is added after it. The flash kernel for CPU scales the
-inf of causality too: by 0 that is NaN, and by a negative number inf.
"""

import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

q, k, v = torch.ones(1, 1, 2, 1), torch.ones(1, 1, 2, 1), torch.tensor([1.0, 3.0]).view(1, 1, 2, 1)


def asked(kernel):
    with sdpa_kernel(kernel):
        answers = (scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale) for scale in (0.0, -1.0))
        return [x for answer in answers for x in answer.flatten().tolist()]


got, math = asked(SDPBackend.FLASH_ATTENTION), asked(SDPBackend.MATH)
owed = [1.0, 2.0, 1.0, 2.0]  # the first row sees 1 alone, the second both
print(f"got {got}, owed {owed} (the math kernel gives {math})")
sys.exit(got != owed)
