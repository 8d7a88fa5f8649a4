"""vLLM on a processor: softcap * tanh(score / softcap), written as (e^x - e^-x) / (e^x + e^-x), is NaN where e^x
overflows float32: for scores beyond 88.7 times the softcap. tanh is 1 there.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch

wide = "_C" if torch.cpu._is_avx512_bf16_supported() else "_C_AVX512"  # as vllm/platforms/cpu.py chooses
name = wide if torch.cpu._is_avx512_supported() else "_C_AVX2"
torch.ops.load_library(str(Path(find_spec("vllm").submodule_search_locations[0]) / f"{name}.abi3.so"))
ops = torch.ops._C

# One token, one head: its output is its value, whatever its score.
SOFTCAP = 50.0  # Gemma 2's
q = torch.zeros(1, 1, 64)
q[0, 0, 0] = 1.0
starts, length, table = torch.tensor([0, 1], dtype=torch.int32), torch.ones(1, dtype=torch.int32), torch.zeros(1, 1)
got = []
for score in (100.0, 4400.0, 4500.0):
    keys, values = torch.zeros(1, 1, 64, 64).chunk(2, dim=2)  # a block of 32 tokens
    ops.cpu_attn_reshape_and_cache(
        score * q, torch.ones(1, 1, 64), keys, values, torch.zeros(1, dtype=torch.int64), "vec"
    )
    plan = ops.get_scheduler_metadata(1, 1, 1, 64, length, q.dtype, starts, True, -1, "vec", True, None)
    out = torch.empty(1, 1, 64)
    tensors = q, keys, values, out, starts, length
    ops.cpu_attention_with_kv_cache(*tensors, 1.0, True, None, -1, table.int(), SOFTCAP, plan, None, None)
    got.append(out[0, 0, 0].item())
owed = [1.0, 1.0, 1.0]
print(f"got {got}, owed {owed}")
sys.exit(got != owed)
