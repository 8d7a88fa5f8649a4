"""transformers: the eager attention rounds scores to float16 before it scales them. A score of 900, which float16
holds, is Inf on the way, and its row NaN.
"""

import sys
from types import SimpleNamespace

import torch
from transformers.models.llama.modeling_llama import eager_attention_forward

layer = SimpleNamespace(num_key_value_groups=1, training=False)
q, k, v = (torch.tensor(x, dtype=torch.float16).view(1, 1, -1, 1) for x in ([300], [300, 0], [1, 0]))
out, _ = eager_attention_forward(layer, q, k, v, None, 0.01)  # scores of 900 and 0
got, owed = out.item(), 1.0
print(f"got {got}, owed {owed}")
sys.exit(got != owed)
