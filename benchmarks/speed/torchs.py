"""Contenders that a user of torch alone would write, or find in it."""

from __future__ import annotations

import inspect
import time
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.speed.cases import Case, Size
from benchmarks.speed.contender import Contender, Prepared, count_padded_numbers, explain_unless_cuda_halves

varlen_attn: Any
try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None
# Parameters of `varlen_attn`, which have changed from release to release.
ACCEPTED = set(inspect.signature(varlen_attn).parameters) if varlen_attn else set()


def list_torchs() -> list[Contender]:
    """Return the contenders that torch alone can run."""
    return [
        Contender("sdpa loop", _prepare_loop),
        _make_gather_contender("gather + sdpa", grouped=False),
        _make_gather_contender("gather + sdpa, grouped", grouped=True),
        Contender("varlen_attn", _prepare_varlen, cannot=_explain_no_varlen),
        Contender("flex paged", _prepare_flex_paged, ("decode",), _explain_no_flex, _count_page_bytes, hidden=0.0),
    ]


def _prepare_loop(case: Case) -> Prepared:
    """Prepare a loop of one call a sequence; what a cache holds behind a context is cut off."""
    context, size = case.context, case.size.block_size

    def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)[0].transpose(0, 1)

    def prefill() -> Tensor:
        assert context.cu_seqlens_q is not None
        parts = [slice(*ends) for ends in pairwise(context.cu_seqlens_q.tolist())]
        return torch.cat([attend(case.q[part], case.k[part], case.v[part], True) for part in parts])

    def decode() -> Tensor:
        assert context.context_lens is not None
        assert context.block_tables is not None
        case.store()
        outputs = []
        for i, length in enumerate(context.context_lens.tolist()):
            blocks = context.block_tables[i, : -(-length // size)]
            k, v = (cache[blocks].flatten(0, 1)[:length] for cache in (case.k_cache, case.v_cache))
            outputs.append(attend(case.q[i : i + 1], k, v, False))
        return torch.cat(outputs)

    return Prepared(prefill if context.is_prefill else decode)


def _make_gather_contender(name: str, grouped: bool) -> Contender:
    """Return a contender that gathers; hidden places hold zeros for it, which it multiplies by 0."""
    return Contender(
        name, partial(_prepare_gather, grouped), ("decode",), needs=partial(_count_gathered_bytes, grouped), hidden=0.0
    )


def _prepare_gather(grouped: bool, case: Case) -> Prepared:
    """Prepare one call for the whole batch, padded and masked.

    Grouped, the query heads of a kv head are rows of one head, for kernels that do not know groups; otherwise torch
    expands the kv heads for such kernels.
    """
    context, kv_heads = case.context, case.size.num_kv_heads
    positions = torch.arange(case.size.block_size * -(-max(case.size.lengths) // case.size.block_size))
    positions = positions.to(case.size.device)

    def call() -> Tensor:
        assert context.context_lens is not None
        case.store()
        k, v = (cache[context.block_tables].flatten(1, 2).transpose(1, 2) for cache in (case.k_cache, case.v_cache))
        seen = (positions < context.context_lens[:, None])[:, None, None]
        q = case.q.unflatten(1, (kv_heads, -1)) if grouped else case.q[:, :, None]
        return scaled_dot_product_attention(q, k, v, seen, enable_gqa=not grouped)

    return Prepared(call, "hidden places hold zeros")


def _count_gathered_bytes(grouped: bool, size: Size) -> int:
    """Return the bytes of keys and values that are gathered, and copied where the kernel wants it.

    Ungrouped ones are expanded as well, in float32 off the CPU.
    """
    width = size.torch_dtype.itemsize
    if grouped or size.device == "cpu":
        return 2 * count_padded_numbers(size) * 2 * width
    return 2 * count_padded_numbers(size) * (width + size.num_heads // size.num_kv_heads * (width + 4))


def _explain_no_varlen(size: Size) -> str:
    """Return why ``varlen_attn`` does not take a size, or an empty text if it does."""
    if varlen_attn is None:
        return f"not in torch {torch.__version__}"
    if size.phase == "decode" and not {"block_table", "seqused_k"} <= ACCEPTED:
        return f"no block_table in torch {torch.__version__}"
    return explain_unless_cuda_halves(size) or ("its blocks are multiples of 256" if size.block_size % 256 else "")


def _prepare_varlen(case: Case) -> Prepared:
    context, q = case.context, case.q
    grouped: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in ACCEPTED else {}
    causal: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in ACCEPTED else {"is_causal": True}
    longest = context.max_seqlen_k

    def prefill() -> Tensor:
        starts = context.cu_seqlens_q
        out: Tensor = varlen_attn(q, case.k, case.v, starts, starts, longest, longest, **causal, **grouped)
        return out

    starts = torch.arange(len(q) + 1, dtype=torch.int32, device=q.device)
    paged: dict[str, Any] = {"seqused_k": context.context_lens, "block_table": context.block_tables}

    def decode() -> Tensor:
        case.store()
        out: Tensor = varlen_attn(q, case.k_cache, case.v_cache, starts, None, 1, longest, **paged, **grouped)
        return out

    return Prepared(prefill if context.is_prefill else decode)


def _explain_no_flex(size: Size) -> str:
    """Return why FlexAttention's class does not take a size, or an empty text if it does."""
    if size.device != "cuda":
        return "timed where it is fused, on cuda"
    return f"its tiles have at least 16 keys, not {size.block_size}" if size.block_size < 16 else ""


def _count_page_bytes(size: Size) -> int:
    """Return the bytes of its tables, which have a column for each block of the cache; converting a mask sorts them."""
    blocks = sum(-(-length // size.block_size) for length in size.lengths)
    # About 60 bytes an entry; a tenth of the blocks, and two at least, belong to nobody.
    return 60 * size.batch * round(1.1 * blocks + 2)


def _prepare_flex_paged(case: Case) -> Prepared:
    """Prepare FlexAttention's own class, its table filled with ours, compiled.

    Uncompiled it would compute the scores of the whole cache.
    """
    from torch.nn.attention.experimental._paged_attention import PagedAttention
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    tables, lengths = case.context.block_tables, case.context.context_lens
    assert tables is not None
    assert lengths is not None
    batch, columns = tables.shape
    num_blocks, block_size = case.k_cache.shape[:2]
    nth = torch.arange(columns, device=tables.device)
    row, column = torch.where(nth * block_size < lengths[:, None])
    pages = PagedAttention(num_blocks, block_size, batch, device=case.size.device)
    pages.page_table[row, column] = tables[row, column].to(torch.int64)
    pages.physical_to_logical[row, tables[row, column].to(torch.int64)] = column

    whole = (lengths // block_size).to(torch.int32).view(batch, 1, 1)
    rest = (lengths % block_size > 0).to(torch.int32).view(batch, 1, 1)
    listed = nth.to(torch.int32).expand(batch, 1, 1, columns).contiguous()
    last = torch.zeros_like(listed)
    last[..., 0] = whole.clamp(max=columns - 1)
    sizes: Any = {"BLOCK_SIZE": (128, block_size), "seq_lengths": (1, columns * block_size)}
    logical = BlockMask.from_kv_blocks(rest, last, whole, listed, **sizes)
    pages.convert_logical_block_mask(logical, kv_len=lengths)
    torch.cuda.synchronize()
    start = time.perf_counter()
    mask = pages.convert_logical_block_mask(logical, kv_len=lengths)
    torch.cuda.synchronize()
    took = time.perf_counter() - start

    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, 256)  # a shape a case, and none shall fall back
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 1024)
    compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
    k, v = (cache.flatten(0, 1).transpose(0, 1)[None] for cache in (case.k_cache, case.v_cache))

    def call() -> Tensor:
        case.store()
        out: Tensor = compiled(case.q[:, :, None], k, v, block_mask=mask, enable_gqa=True)
        return out

    return Prepared(call, f"hidden places hold zeros; converting the block mask, {1e3 * took:.1f} ms, is not counted")
