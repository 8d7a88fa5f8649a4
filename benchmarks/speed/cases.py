"""The cases that are timed: ragged prefills, and decodes over a paged cache whose hidden places can be made to tell."""

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
# Any number will do: every run times equal tensors.
SEED = 2026


@dataclass(frozen=True)
class Size:
    """The size of a case; the sequences' lengths are spread evenly from ``low`` to ``high``."""

    phase: Phase
    """Phase of the call."""
    batch: int
    """Number of sequences."""
    low: int
    """Length of the shortest sequence."""
    high: int
    """Length of the longest sequence; a sequence that is alone has it."""
    block_size: int
    """Tokens of a block of the cache; 0 in a prefill, which has no cache."""
    dtype: str
    """Format of q, k, v and the cache."""
    device: str
    """Device that the case lies on."""
    num_heads: int = 32
    """Number of query heads."""
    num_kv_heads: int = 8
    """Number of kv heads."""
    head_dim: int = 128
    """Numbers of a head."""

    @cached_property
    def lengths(self) -> list[int]:
        """Return the length of each sequence, in no order."""
        spread = torch.linspace(self.high, self.low, self.batch, dtype=torch.float64).round().to(torch.int64)
        order = torch.randperm(self.batch, generator=torch.Generator().manual_seed(SEED))
        return spread[order].tolist()

    @property
    def torch_dtype(self) -> torch.dtype:
        """Return ``dtype`` as torch has it."""
        dtype = getattr(torch, self.dtype)
        assert isinstance(dtype, torch.dtype)
        return dtype

    @property
    def kv_bytes(self) -> int:
        """Return the bytes of the keys and values that are visible."""
        return 2 * sum(self.lengths) * self.num_kv_heads * self.head_dim * self.torch_dtype.itemsize

    @property
    def flops(self) -> int:
        """Return the operations of the two products, where causality leaves something to multiply."""
        seen = sum(n * (n + 1) // 2 if self.phase == "prefill" else n for n in self.lengths)
        # Two products of a multiplication and an addition each.
        return 4 * self.num_heads * self.head_dim * seen

    def __str__(self) -> str:
        length = f"{self.low:,} to {self.high:,}" if self.low != self.high else f"{self.high:,}"
        where = f", blocks of {self.block_size}" if self.block_size else ""
        sequences = "sequence" if self.batch == 1 else "sequences"
        return f"{self.phase}, {self.dtype}, {self.device}: {self.batch} {sequences} of {length} tokens{where}"


@dataclass
class Case:
    """The tensors of one size."""

    size: Size
    """Size of the case."""
    q: Tensor
    """Queries, `[T, H, D]`."""
    k: Tensor
    """New keys, `[T_k, G, D]`."""
    v: Tensor
    """New values, `[T_k, G, D]`."""
    context: Context
    """Context of the step, with its integers on the device."""
    k_cache: Tensor
    """Cache of the keys, `[N, S, G, D]`; empty in a prefill."""
    v_cache: Tensor
    """Cache of the values, `[N, S, G, D]`; empty in a prefill."""
    hidden: Tensor
    """Slots that nobody may read: unused blocks, and the slots behind a context in its last block."""
    held: float = nan
    """Number that the hidden slots hold."""

    def hide(self, value: float) -> None:
        """Let hidden places hold ``value``; nothing is written if they do already."""
        if repr(value) == repr(self.held):
            return
        for cache in (self.k_cache, self.v_cache):
            cache.flatten(0, 1).index_fill_(0, self.hidden, value)
        self.held = value

    def store(self) -> None:
        """Write the new tokens into the cache, as whoever writes a decode by hand does it."""
        slots = self.context.slot_mapping
        assert slots is not None
        self.k_cache.flatten(0, 1).index_copy_(0, slots, self.k)
        self.v_cache.flatten(0, 1).index_copy_(0, slots, self.v)


def make_case(size: Size) -> Case:
    """Return a case of normal numbers from a fixed seed."""
    generator = torch.Generator(size.device).manual_seed(SEED)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=size.torch_dtype, device=size.device)

    return (_make_prefill if size.phase == "prefill" else _make_decode)(size, normal)


def _make_prefill(size: Size, normal: Callable[..., Tensor]) -> Case:
    """Return a ragged prefill without a cache."""
    lengths, kv = size.lengths, (size.num_kv_heads, size.head_dim)
    starts = torch.tensor([0, *lengths]).cumsum(0).to(size.device, torch.int32)
    longest = max(lengths)
    context = Context(True, starts, starts, longest, longest)
    q, k, v = normal(sum(lengths), size.num_heads, size.head_dim), normal(sum(lengths), *kv), normal(sum(lengths), *kv)
    nothing = torch.empty(0, 0, *kv, dtype=q.dtype, device=size.device)
    return Case(size, q, k, v, context, nothing, nothing, torch.empty(0, dtype=torch.int64, device=size.device))


def _make_decode(size: Size, normal: Callable[..., Tensor]) -> Case:
    """Return a decode.

    Blocks lie anywhere in the cache, a tenth of which nobody uses; columns behind a context name block 0.
    """
    lengths, kv = size.lengths, (size.num_kv_heads, size.head_dim)
    counts = [-(-length // size.block_size) for length in lengths]
    # A tenth of the blocks, and at least two, belong to nobody.
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
