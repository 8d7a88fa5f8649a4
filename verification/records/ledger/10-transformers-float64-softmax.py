"""transformers: softmax(attn_weights, dim=-1, dtype=torch.float32), whatever the dtype of the scores."""

import math
import sys
from types import SimpleNamespace

import torch
from transformers.models.llama.modeling_llama import eager_attention_forward

layer = SimpleNamespace(num_key_value_groups=1, training=False)
q, k, v = (torch.tensor(x, dtype=torch.float64).view(1, 1, -1, 1) for x in ([1], [1, 0], [0, 1]))
got = eager_attention_forward(layer, q, k, v, None, 1.0)[0].item()
owed = 1 / (1 + math.e)
print(f"got {got}, owed {owed}")
sys.exit(abs(got - owed) > 1e-14)
