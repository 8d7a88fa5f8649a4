"""Kernels of other projects; the rows of those that are not installed say so."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.speed.cases import Case, Size
from benchmarks.speed.contender import Contender, Prepared, explain_unless_cuda_halves


def list_others() -> list[Contender]:
    """Return the contenders of other projects."""
    return [
        Contender("flash_attn", _prepare_flash_attn, cannot=partial(_explain_unfit, "flash_attn", 256)),
        Contender("vLLM's flash_attn", _prepare_vllm, cannot=partial(_explain_unfit, "vllm", 16)),
        Contender("FlashInfer", _prepare_flashinfer, cannot=partial(_explain_unfit, "flashinfer", 1)),
    ]


def _explain_unfit(package: str, blocks_of: int, size: Size) -> str:
    """Return why a package does not take a size, or an empty text if it does."""
    if find_spec(package) is None:
        return "not installed"
    if size.block_size % blocks_of:
        return f"its blocks are multiples of {blocks_of}"
    return explain_unless_cuda_halves(size)


def _prepare_flash_attn(case: Case) -> Prepared:
    from flash_attn import flash_attn_varlen_func, flash_attn_with_kvcache

    context, q = case.context, case.q
    starts, longest = context.cu_seqlens_q, context.max_seqlen_k
    paged = {"cache_seqlens": context.context_lens, "block_table": context.block_tables}

    def prefill() -> Tensor:
        out: Tensor = flash_attn_varlen_func(q, case.k, case.v, starts, starts, longest, longest, causal=True)
        return out

    def decode() -> Tensor:
        case.store()
        out: Tensor = flash_attn_with_kvcache(q[:, None], case.k_cache, case.v_cache, causal=True, **paged)
        return out

    return Prepared(prefill if context.is_prefill else decode)


def _prepare_vllm(case: Case) -> Prepared:
    from vllm.vllm_flash_attn import flash_attn_varlen_func

    context, q = case.context, case.q
    longest = context.max_seqlen_k
    one_each = torch.arange(len(q) + 1, dtype=torch.int32, device=q.device)

    def prefill() -> Tensor:
        starts = {"cu_seqlens_q": context.cu_seqlens_q, "cu_seqlens_k": context.cu_seqlens_k}
        most = {"max_seqlen_q": longest, "max_seqlen_k": longest}
        out: Tensor = flash_attn_varlen_func(q=q, k=case.k, v=case.v, causal=True, **starts, **most)
        return out

    def decode() -> Tensor:
        case.store()
        paged = {"seqused_k": context.context_lens, "block_table": context.block_tables}
        most = {"cu_seqlens_q": one_each, "max_seqlen_q": 1, "max_seqlen_k": longest}
        out: Tensor = flash_attn_varlen_func(q=q, k=case.k_cache, v=case.v_cache, causal=True, **most, **paged)
        return out

    return Prepared(prefill if context.is_prefill else decode)


def _prepare_flashinfer(case: Case) -> Prepared:
    """Prepare FlashInfer; its plan, which an engine makes once a step, is made beforehand."""
    import flashinfer

    context, q, size = case.context, case.q, case.size
    heads = (size.num_heads, size.num_kv_heads, size.head_dim)
    # 256 MiB, more than the 128 that FlashInfer's own examples take.
    workspace = torch.empty(256 * 2**20, dtype=torch.uint8, device=q.device)
    note = "its plan is not counted"
    if context.is_prefill:
        ragged = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace, "NHD")
        starts = context.cu_seqlens_q
        ragged.plan(starts, starts, *heads, causal=True, q_data_type=q.dtype)
        return Prepared(lambda: ragged.run(q, case.k, case.v), note)
    lengths, tables = context.context_lens, context.block_tables
    assert lengths is not None
    assert tables is not None
    counts = (lengths + size.block_size - 1) // size.block_size
    used = torch.arange(tables.shape[1], device=q.device) < counts[:, None]
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(torch.int32)
    paged = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD", use_tensor_cores=True)
    last = (lengths - 1) % size.block_size + 1
    paged.plan(starts, tables[used], last, *heads, size.block_size, q_data_type=q.dtype, kv_data_type=q.dtype)

    def decode() -> Tensor:
        case.store()
        out: Tensor = paged.run(q, (case.k_cache, case.v_cache))
        return out

    return Prepared(decode, note)
