"""transformers: the eager mask adds the lowest float16, as documented; a visible score can be far below."""

import sys
from types import SimpleNamespace

import torch
from transformers.masking_utils import eager_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

layer = SimpleNamespace(num_key_value_groups=1, training=False)
q, k, v = (torch.tensor(x, dtype=torch.float16).view(1, 1, 2, 1) for x in ([200, 0], [-200, 150], [0, 1]))
out, _ = eager_attention_forward(layer, q, k, v, eager_mask(1, 2, 2, dtype=torch.float16), 1.0)

got, owed = out.flatten().tolist(), [0.0, 0.5]  # row 0 sees key 0 alone: its score is -40,000, the hidden one 30,000
print(f"got {got}, owed {owed}")
sys.exit(got != owed)
