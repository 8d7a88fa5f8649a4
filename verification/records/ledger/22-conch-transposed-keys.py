"""conch: `reshape_and_cache` finds the heads of the cache by the stride of the new keys' heads."""

import os
import sys

import torch

device = "cuda" if torch.cuda.is_available() else "cpu"
if device == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
from conch.ops.vllm.reshape_and_cache import reshape_and_cache  # noqa: E402

tokens, heads, size = 2, 2, 16
key = torch.arange(1.0, 1 + heads * tokens).repeat_interleave(size).view(heads, tokens, size).to(device, torch.float16)
key = key.transpose(0, 1)  # [tokens, heads, size]: as of a projection whose heads come first
k_cache, v_cache = torch.zeros(2, 1, 16, heads, size, dtype=torch.float16, device=device)
reshape_and_cache(key, key, k_cache, v_cache, torch.arange(tokens, device=device))
got, owed = k_cache[0, :tokens, :, 0].tolist(), key[..., 0].tolist()
print(f"got {got}, owed {owed}")
sys.exit(got != owed)
