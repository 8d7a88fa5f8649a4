"""What is timed: ragged prefills, and decodes over a paged cache whose hidden places can be made to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import nan
from typing import Literal

import torch
from torch import Tensor

from attn_core import Context

Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, ...] = ("prefill", "decode")
SEED = 2026


@dataclass(frozen=True)
class Size:
    """``batch`` sequences, their lengths spread evenly from ``low`` to ``high``; one alone has ``high``.

    A prefill has no cache, so its ``block_size`` is 0.
    """

    phase: Phase
    batch: int
    low: int
    high: int
    block_size: int
    dtype: str
    device: str
    num_heads: int = 32
    num_kv_heads: int = 8
    head_dim: int = 128

    @cached_property
    def lengths(self) -> list[int]:
        """In no order."""
        spread = torch.linspace(self.high, self.low, self.batch, dtype=torch.float64).round().to(torch.int64)
        order = torch.randperm(self.batch, generator=torch.Generator().manual_seed(SEED))
        return spread[order].tolist()

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype = getattr(torch, self.dtype)
        assert isinstance(dtype, torch.dtype)
        return dtype

    @property
    def kv_bytes(self) -> int:
        """Of the keys and values that are seen."""
        return 2 * sum(self.lengths) * self.num_kv_heads * self.head_dim * self.torch_dtype.itemsize

    @property
    def flops(self) -> int:
        """Of the two products, where causality leaves something to multiply."""
        seen = sum(n * (n + 1) // 2 if self.phase == "prefill" else n for n in self.lengths)
        return 4 * self.num_heads * self.head_dim * seen

    def __str__(self) -> str:
        length = f"{self.low:,} to {self.high:,}" if self.low != self.high else f"{self.high:,}"
        where = f", blocks of {self.block_size}" if self.block_size else ""
        sequences = "sequence" if self.batch == 1 else "sequences"
        return f"{self.phase}, {self.dtype}, {self.device}: {self.batch} {sequences} of {length} tokens{where}"


@dataclass
class Case:
    """Tensors of one size. ``context`` has its integers on the device. ``hidden`` are the slots that nobody may read:
    unused blocks, and what lies behind a context in its last block. They hold NaN until told otherwise.
    """

    size: Size
    q: Tensor
    k: Tensor
    v: Tensor
    context: Context
    k_cache: Tensor
    v_cache: Tensor
    hidden: Tensor
    held: float = nan

    def hide(self, value: float) -> None:
        """Let hidden places hold this; nothing is written where they do already."""
        if repr(value) == repr(self.held):
            return
        for cache in (self.k_cache, self.v_cache):
            cache.flatten(0, 1).index_fill_(0, self.hidden, value)
        self.held = value

    def store(self) -> None:
        """The new tokens into the cache, as whoever writes a decode by hand does it."""
        slots = self.context.slot_mapping
        assert slots is not None
        self.k_cache.flatten(0, 1).index_copy_(0, slots, self.k)
        self.v_cache.flatten(0, 1).index_copy_(0, slots, self.v)


def make_case(size: Size) -> Case:
    """Normal numbers from a fixed seed."""
    generator = torch.Generator(size.device).manual_seed(SEED)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=size.torch_dtype, device=size.device)

    return (_make_prefill if size.phase == "prefill" else _make_decode)(size, normal)


def _make_prefill(size: Size, normal: Callable[..., Tensor]) -> Case:
    lengths, kv = size.lengths, (size.num_kv_heads, size.head_dim)
    starts = torch.tensor([0, *lengths]).cumsum(0).to(size.device, torch.int32)
    longest = max(lengths)
    context = Context(True, starts, starts, longest, longest)
    q, k, v = normal(sum(lengths), size.num_heads, size.head_dim), normal(sum(lengths), *kv), normal(sum(lengths), *kv)
    nothing = torch.empty(0, 0, *kv, dtype=q.dtype, device=size.device)
    return Case(size, q, k, v, context, nothing, nothing, torch.empty(0, dtype=torch.int64, device=size.device))


def _make_decode(size: Size, normal: Callable[..., Tensor]) -> Case:
    """Blocks lie anywhere in the cache, a tenth of which nobody uses; columns behind a context name block 0."""
    lengths, kv = size.lengths, (size.num_kv_heads, size.head_dim)
    counts = [-(-length // size.block_size) for length in lengths]
    num_blocks = sum(counts) + max(2, sum(counts) // 10)
    ids = torch.randperm(num_blocks, generator=torch.Generator().manual_seed(SEED))[: sum(counts)].split(counts)
    tables = torch.zeros(size.batch, max(counts), dtype=torch.int64)
    unseen = torch.ones(num_blocks, size.block_size, dtype=torch.bool)
    last_slots = []
    for row, length, blocks in zip(tables, lengths, ids, strict=True):
        row[: len(blocks)] = blocks
        slots = (blocks[:, None] * size.block_size + torch.arange(size.block_size)).flatten()[:length]
        unseen.view(-1)[slots] = False
        last_slots.append(int(slots[-1]))
    context = Context(
        max_seqlen_q=1,
        max_seqlen_k=max(lengths),
        slot_mapping=torch.tensor(last_slots).to(size.device),
        context_lens=torch.tensor(lengths, dtype=torch.int32).to(size.device),
        block_tables=tables.to(size.device, torch.int32),
    )
    q, k, v = normal(size.batch, size.num_heads, size.head_dim), normal(size.batch, *kv), normal(size.batch, *kv)
    k_cache, v_cache = (normal(num_blocks, size.block_size, *kv) for _ in range(2))
    case = Case(size, q, k, v, context, k_cache, v_cache, unseen.flatten().nonzero().flatten().to(size.device), 0.0)
    case.hide(nan)
    case.store()
    return case
