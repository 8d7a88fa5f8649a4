"""conch: a chunk of several queries in `varlen_attention` sees the start of its context instead of all but its end."""

import os
import sys

import torch

device = "cuda" if torch.cuda.is_available() else "cpu"
if device == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
from conch.ops.attention.varlen_attention import varlen_attention  # noqa: E402

size, keys = 16, 4
q = torch.zeros(2, 1, size, dtype=torch.float16, device=device)  # the last two tokens of four
k_cache, v_cache = torch.zeros(2, 1, 16, 1, size, dtype=torch.float16, device=device)
v_cache[0, :keys] = torch.arange(float(keys), device=device).view(-1, 1, 1).half()  # a mean of the tokens that it sees
starts, lengths, table = (torch.tensor(x, dtype=torch.int32, device=device) for x in ([0, 2], [keys], [[0]]))
out = varlen_attention(q, k_cache, v_cache, starts, 2, lengths, keys, table, causal=True)
got, owed = out[:, 0, 0].tolist(), [1.0, 1.5]
print(f"got {got}, owed {owed}")
sys.exit(got != owed)
