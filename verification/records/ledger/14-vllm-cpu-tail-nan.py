"""vLLM on a processor: the kernel multiplies all values of 32 tokens, those behind the context by a weight of 0. Where
one of these is NaN, so is the output.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch

wide = "_C" if torch.cpu._is_avx512_bf16_supported() else "_C_AVX512"  # as vllm/platforms/cpu.py chooses
name = wide if torch.cpu._is_avx512_supported() else "_C_AVX2"
torch.ops.load_library(str(Path(find_spec("vllm").submodule_search_locations[0]) / f"{name}.abi3.so"))
ops = torch.ops._C

# A block that another request has left: NaN everywhere. A new request stores its first token in it.
q = torch.ones(1, 1, 64)
starts, length, table = torch.tensor([0, 1], dtype=torch.int32), torch.ones(1, dtype=torch.int32), torch.zeros(1, 1)
keys, values = torch.full((1, 1, 64, 64), torch.nan).chunk(2, dim=2)
ops.cpu_attn_reshape_and_cache(q, q, keys, values, torch.zeros(1, dtype=torch.int64), "vec")
plan = ops.get_scheduler_metadata(1, 1, 1, 64, length, q.dtype, starts, True, -1, "vec", True, None)
out = torch.empty(1, 1, 64)
ops.cpu_attention_with_kv_cache(
    q, keys, values, out, starts, length, 0.125, True, None, -1, table.int(), 0.0, plan, None, None
)
print(f"got {out[0, 0, 0].item()}, owed 1.0")
sys.exit(not (out == 1.0).all())
