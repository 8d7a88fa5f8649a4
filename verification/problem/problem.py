"""A problem: one call of attention, described as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

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
    """One planted NaN or Inf. ``row`` is a token of q, k, v, or a slot of a cache."""

    tensor: str
    row: int
    head: int
    dim: int
    value: Literal["nan", "inf", "-inf"]


@dataclass(frozen=True)
class Numbers:
    """All of a tensor, number by number in row-major order; of a cache, the slots that a sequence sees, ascending."""

    tensor: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """Frozen and hashable. The same problem makes the same numbers on every machine and device.

    ``query_lens`` and ``key_lens`` count tokens per sequence. A prefill brings all of its keys. In a decode the queries
    are one each and ``key_lens`` is ``context_lens``, and so in a chunked prefill, whose queries are the last tokens of
    their contexts: both store their new tokens first, then read every key from the cache.

    ``num_blocks == 0`` is a prefill without a cache. ``block_tables`` rows are equally wide and hold whatever the
    backend is shown, hostile tails too. ``score_fill`` and ``value_fill`` name how q, k and v are filled from ``seed``, which
    ``numbers`` overrule; ``poison`` is what lies in memory that nobody may read, around keys and around values. A
    ``misuse`` makes the call one that must be refused. ``causal_alignment`` is "none" where every query sees every key;
    ``scoring`` is what becomes of the products.
    """

    phase: Phase
    dtype: str
    num_heads: int
    num_kv_heads: int
    head_dim: int
    query_lens: tuple[int, ...]
    key_lens: tuple[int, ...]
    block_size: int = 1
    num_blocks: int = 0
    slot_mapping: tuple[int, ...] = ()
    block_tables: tuple[tuple[int, ...], ...] = ()
    cache_dtype: str = ""
    index_dtype: Literal["int32", "int64"] = "int64"
    causal_alignment: CausalAlignment = "top_left"
    on_invalid: Literal["drop", "raise"] = "drop"
    layout: Layout = "contiguous"
    cache_layout: CacheLayout = "contiguous"
    score_fill: ScoreFill = "ones"
    value_fill: ValueFill = "ones"
    numbers: tuple[Numbers, ...] = ()
    specials: tuple[Special, ...] = ()
    poison: tuple[Poison, Poison] = ("zero", "zero")
    seed: int = 0
    misuse: str = ""
    scoring: Scoring = PLAIN

    @property
    def num_sequences(self) -> int:
        return len(self.query_lens)

    @cached_property
    def num_queries(self) -> int:
        return sum(self.query_lens)

    @cached_property
    def num_new_keys(self) -> int:
        """Tokens of k and v in this call, ``T_k``."""
        return sum(self.query_lens) if self.reads_cache else sum(self.key_lens)

    @property
    def reads_cache(self) -> bool:
        """Whether keys come from the cache, through block tables."""
        return self.phase != "prefill"

    @property
    def num_tokens(self) -> int:
        """How large it is to a reader: queries and keys of a prefill, what the contexts of a decode hold."""
        return sum(self.key_lens) + (0 if self.phase == "decode" else self.num_queries)

    @property
    def is_uniform(self) -> bool:
        """Whether it could be a dense batch ``[B, H, L, D]``."""
        lengths = {*zip(self.query_lens, self.key_lens, strict=True)}
        return self.phase == "prefill" and not self.num_blocks and len(lengths) == 1 and all(*lengths)

    @property
    def num_slots(self) -> int:
        return self.num_blocks * self.block_size

    @property
    def table_width(self) -> int:
        """Columns of the block tables, ``M``."""
        return len(self.block_tables[0]) if self.block_tables else 0

    @property
    def scale(self) -> float:
        return float(self.head_dim**-0.5) if self.scoring.scale is None else self.scoring.scale

    @property
    def cache_format(self) -> str:
        """The cache's dtype: ``dtype`` unless ``cache_dtype`` says otherwise."""
        return self.cache_dtype or self.dtype
