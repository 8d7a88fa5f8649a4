"""A problem: one call of attention, described as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from verification.problem.renamed import renamed
from verification.problem.scoring import PLAIN, Scoring

Phase = Literal["prefill", "decode", "chunked"]
CausalAlignment = Literal["top_left", "bottom_right", "none"]
Layout = Literal["contiguous", "fused", "transposed", "strided"]
CacheLayout = Literal["contiguous", "interleaved", "transposed"]
ScoreFill = Literal["ones", "normal", "zeros", "onehot", "steep", "negative", "huge", "tiny", "outlier", "integers"]
ValueFill = Literal["ones", "index", "normal", "zeros", "onehot", "huge", "tiny", "outlier", "integers"]
Poison = Literal["zero", "nan", "large", "negative"]


@dataclass(frozen=True)
class Special:
    """One planted NaN or Inf."""

    tensor: str
    """Name of the tensor that it lies in."""
    row: int
    """Token of q, k or v, or slot of a cache."""
    head: int
    """Head of q, else kv head."""
    dim: int
    """Number within the head, below head_dim."""
    value: Literal["nan", "inf", "-inf"]
    """The number that is planted."""


@dataclass(frozen=True)
class Numbers:
    """All of a tensor, number by number."""

    tensor: str
    """Name of the tensor."""
    values: tuple[float, ...]
    """Its numbers in row-major order; of a cache those of the slots that a sequence sees, in ascending order."""


@renamed(scores="score_fill", values="value_fill")
@dataclass(frozen=True)
class Problem:
    """Frozen and hashable. The same problem makes the same numbers on every machine and device.

    A prefill brings all of its keys. A decode has one query a sequence, a chunked prefill any number of them, the last
    tokens of their contexts; both store their new tokens first, then read every key from the cache.
    """

    phase: Phase
    """Kind of the call: "prefill", "decode" or "chunked"."""
    dtype: str
    """Format of q, k and v, a name in `DTYPES`."""
    num_heads: int
    """Query heads H, a multiple of the kv heads."""
    num_kv_heads: int
    """Heads G of keys and values."""
    head_dim: int
    """Size D of a head."""
    query_lens: tuple[int, ...]
    """Queries of each sequence, in tokens; 1 each in a decode."""
    key_lens: tuple[int, ...]
    """Keys of each sequence, in tokens; ``context_lens`` of a decode and a chunked prefill, new tokens included."""
    block_size: int = 1
    """Slots S of a block of the cache."""
    num_blocks: int = 0
    """Blocks N of each cache ``[N, S, G, D]``; 0 is a prefill without a cache."""
    slot_mapping: tuple[int, ...] = ()
    """Slot of the cache for each new key; one outside the cache, as -1 is, is not stored. Empty without a cache."""
    block_tables: tuple[tuple[int, ...], ...] = ()
    """Row of block ids for each sequence, equally wide, as the backend is shown it, hostile tails too. Empty in a
    prefill."""
    cache_dtype: str = ""
    """Format of the caches, a name in `FORMATS`; empty is ``dtype``."""
    index_dtype: Literal["int32", "int64"] = "int64"
    """Format of all lengths, slots and block ids."""
    causal_alignment: CausalAlignment = "top_left"
    """Place of a prefill's diagonal: "top_left", "bottom_right", or "none", where every query sees every key."""
    on_invalid: Literal["drop", "raise"] = "drop"
    """Treatment of slots and blocks outside the cache: "drop" leaves them out, "raise" refuses the call."""
    layout: Layout = "contiguous"
    """Strides of q, k and v: "contiguous"; "fused", head ranges of one tensor; "transposed", heads outermost in memory;
    "strided", with gaps between numbers."""
    cache_layout: CacheLayout = "contiguous"
    """Strides of the caches: "contiguous"; "interleaved", both in one tensor, block by block; "transposed", heads
    outermost in a block."""
    score_fill: ScoreFill = "ones"
    """Kind of numbers in q and k, made from ``seed``: "ones", "normal", "zeros", "onehot", "steep", "negative", "huge",
    "tiny", "outlier" or "integers"."""
    value_fill: ValueFill = "ones"
    """Kind of numbers in v, made from ``seed``: "ones", "index" (the token's number), "normal", "zeros", "onehot",
    "huge", "tiny", "outlier" or "integers"."""
    numbers: tuple[Numbers, ...] = ()
    """Tensors that are given number by number, and not filled."""
    specials: tuple[Special, ...] = ()
    """NaN and Inf that are planted after all else is filled."""
    poison: tuple[Poison, Poison] = ("zero", "zero")
    """Content of memory that nobody may read, around keys and around values: "zero", "nan", "large", "negative"."""
    seed: int = 0
    """Seed of all numbers, 0 or more."""
    misuse: str = ""
    """Name in `MISUSES` of what is wrong with the call, which must be refused; empty where nothing is."""
    scoring: Scoring = PLAIN
    """Steps from a product to a score; `PLAIN` is times 1/sqrt(D) alone."""

    @property
    def num_sequences(self) -> int:
        """Number B of sequences."""
        return len(self.query_lens)

    @cached_property
    def num_queries(self) -> int:
        """Number T of queries, of all sequences."""
        return sum(self.query_lens)

    @cached_property
    def num_new_keys(self) -> int:
        """Number T_k of tokens of k and v in this call."""
        return sum(self.query_lens) if self.reads_cache else sum(self.key_lens)

    @property
    def reads_cache(self) -> bool:
        """True if keys come from the cache, through block tables."""
        return self.phase != "prefill"

    @property
    def num_tokens(self) -> int:
        """Size to a reader: queries and keys of a prefill, what the contexts of a decode hold."""
        return sum(self.key_lens) + (0 if self.phase == "decode" else self.num_queries)

    @property
    def is_uniform(self) -> bool:
        """True if it could be a dense batch ``[B, H, L, D]``."""
        lengths = {*zip(self.query_lens, self.key_lens, strict=True)}
        return self.phase == "prefill" and not self.num_blocks and len(lengths) == 1 and all(*lengths)

    @property
    def num_slots(self) -> int:
        """Number of slots of each cache, N * S."""
        return self.num_blocks * self.block_size

    @property
    def table_width(self) -> int:
        """Number M of columns of the block tables."""
        return len(self.block_tables[0]) if self.block_tables else 0

    @property
    def scale(self) -> float:
        """Factor of the products: `Scoring.scale`, or 1/sqrt(D)."""
        return float(self.head_dim**-0.5) if self.scoring.scale is None else self.scoring.scale

    @property
    def cache_format(self) -> str:
        """Format of the caches: ``dtype`` unless ``cache_dtype`` says otherwise."""
        return self.cache_dtype or self.dtype
