"""vLLM on a processor: of a sequence without a token in its context no row is written. What lay in the output stays."""

import sys
from importlib.util import find_spec
from pathlib import Path

import torch

wide = "_C" if torch.cpu._is_avx512_bf16_supported() else "_C_AVX512"  # as vllm/platforms/cpu.py chooses
name = wide if torch.cpu._is_avx512_supported() else "_C_AVX2"
torch.ops.load_library(str(Path(find_spec("vllm").submodule_search_locations[0]) / f"{name}.abi3.so"))
ops = torch.ops._C

q = torch.ones(1, 1, 64)
starts, length, table = torch.tensor([0, 1], dtype=torch.int32), torch.zeros(1, dtype=torch.int32), torch.zeros(1, 1)
keys, values = torch.zeros(1, 1, 64, 64).chunk(2, dim=2)
plan = ops.get_scheduler_metadata(1, 1, 1, 64, length, q.dtype, starts, True, -1, "vec", True, None)
out = torch.full((1, 1, 64), 7.0)
ops.cpu_attention_with_kv_cache(
    q, keys, values, out, starts, length, 0.125, True, None, -1, table.int(), 0.0, plan, None, None
)
print(f"got {out[0, 0, 0].item()}, owed 0.0")
sys.exit(not (out == 0.0).all())
