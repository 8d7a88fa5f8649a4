"""Whole problems for Hypothesis: valid by construction, few draws each.

What is drawn is structure, as choices that shrink to the first: one sequence, one token, one head, head_dim 1, ones.
Where exactly a -1 slot or a bad block lies, and every number, comes from a drawn seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import hypothesis.strategies as st
import numpy as np

from properties.paging import decode_paging, prefill_paging
from verification.misuse import MISUSES
from verification.problem import Problem, Special

# (H, G): ratios 1, 2, 3, 5, 8, one kv head and several, ratios equal and unequal to G.
HEADS = ((1, 1), (2, 1), (2, 2), (4, 2), (3, 1), (3, 3), (6, 2), (5, 1), (8, 1), (10, 2), (8, 8), (16, 2))
HEAD_DIMS = (1, 2, 3, 12, 16, 64, 80, 128)
BLOCK_SIZES = (1, 2, 3, 16, 256)
SCORES = ("ones", "normal", "zeros", "onehot", "steep", "negative", "huge", "tiny", "outlier")
VALUES = ("ones", "index", "normal", "zeros", "onehot", "huge", "tiny", "outlier")
LAYOUTS = ("contiguous", "fused", "transposed", "strided")
CACHE_LAYOUTS = ("contiguous", "interleaved", "transposed")
POISONS = (
    ("zero", "zero"),
    ("nan", "nan"),
    ("nan", "zero"),
    ("zero", "nan"),
    ("large", "large"),
    ("negative", "large"),
)
# A length is a number or one around the block size; the work that it may cause is capped below.
LENGTHS = (1, 0, 2, 3, 5, "S-1", "S", "S+1", "2S", "3S+2", 33)
KEY_LENGTHS = ("same", *LENGTHS)
SPECIALS = (None, None, None, "nan", "inf", "-inf")
TABLES = ("shuffled", "identity", "reversed", "shared", "maximal", "many")
BAD_BLOCKS = ("none", "none", "none", "padding", "negative", "too_large", "short_table")
BAD_SLOTS = ("none", "none", "padding", "negative", "too_large", "duplicate", "all")
# Multiply-adds a sequence and elements a block beyond which a problem teaches no more, only slower.
_WORK = 40_000
_MAX_BLOCK = 256 * 64

_choice = {
    name: st.sampled_from(options)
    for name, options in {
        "heads": HEADS,
        "head_dim": HEAD_DIMS,
        "block_size": BLOCK_SIZES,
        "scores": SCORES,
        "values": VALUES,
        "layout": LAYOUTS,
        "cache_layout": CACHE_LAYOUTS,
        "poison": POISONS,
        "special": SPECIALS,
        "tables": TABLES,
        "bad_blocks": BAD_BLOCKS,
        "bad_slots": BAD_SLOTS,
        "index_dtype": ("int64", "int32"),
        "alignment": ("top_left", "bottom_right"),
        "tail": (0, 1, 3),
        "cache": (True, True, False),
        "narrow_cache": (False, False, False, True),
    }.items()
}
_seed = st.integers(0, 2**32 - 1)
_lengths = st.lists(st.tuples(st.sampled_from(LENGTHS), st.sampled_from(KEY_LENGTHS)), max_size=4)
_contexts = st.lists(st.sampled_from(LENGTHS), max_size=4)


@st.composite
def problems(
    draw: st.DrawFn,
    dtype: str,
    phases: tuple[str, ...] = ("prefill", "decode"),
    plain: bool = False,
    bad_input: bool = False,
) -> Problem:
    """A problem in ``dtype``. ``plain`` ones hold neither NaN nor Inf where they are seen, in caches of their own
    dtype; ``bad_input`` ones carry a misuse wherever one applies.
    """
    phase = draw(st.sampled_from(phases)) if len(phases) > 1 else phases[0]
    num_heads, num_kv_heads = draw(_choice["heads"])
    sizes = _Sizes(num_heads, num_kv_heads, draw(_choice["head_dim"]), draw(_choice["block_size"]))
    seed = draw(_seed)
    rng = np.random.default_rng(seed)
    special = None if plain else draw(_choice["special"])
    narrow = dtype == "float32" and not plain and draw(_choice["narrow_cache"])
    poison = draw(_choice["poison"])
    if narrow:  # how a NaN's payload is narrowed is nobody's promise, and caches are compared byte by byte
        poison = tuple("large" if kind == "nan" else kind for kind in poison)
    problem = Problem(
        dtype=dtype,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=sizes.head_dim,
        block_size=sizes.block_size,
        cache_dtype=("float16", "bfloat16")[seed % 2] if narrow else "",
        layout=draw(_choice["layout"]),
        scores=draw(_choice["scores"]),
        values=draw(_choice["values"]),
        poison=poison,
        seed=seed,
        **(_decode(draw, rng, sizes) if phase == "decode" else _prefill(draw, rng, sizes)),
    )
    if special:
        problem = replace(problem, specials=_planted(rng, problem, special))
    return _misused(draw, problem) if bad_input else problem


@dataclass(frozen=True)
class _Sizes:
    num_heads: int
    num_kv_heads: int
    head_dim: int
    drawn_block_size: int

    @property
    def block_size(self) -> int:
        """As drawn, unless a block would be too large to be tried by the thousand."""
        too_large = self.drawn_block_size * self.num_kv_heads * self.head_dim > _MAX_BLOCK
        return 16 if too_large else self.drawn_block_size

    @property
    def longest(self) -> int:
        return min(_WORK // (self.num_heads * self.head_dim), 600)

    @property
    def longest_square(self) -> int:
        return min(self.longest, int((_WORK / self.num_heads) ** 0.5))

    def length(self, code: int | str, longest: int) -> int:
        size = self.block_size
        named = {"S-1": size - 1, "S": size, "S+1": size + 1, "2S": 2 * size, "3S+2": 3 * size + 2}
        return min(named[code] if isinstance(code, str) else code, longest)


def _decode(draw: st.DrawFn, rng: np.random.Generator, sizes: _Sizes) -> dict[str, Any]:
    contexts = tuple(sizes.length(code, sizes.longest) for code in draw(_contexts))
    tables, index_dtype = draw(_choice["tables"]), draw(_choice["index_dtype"])
    if tables == "many" and sizes.block_size * sizes.num_kv_heads * sizes.head_dim > 4:
        tables = "maximal"
    paging = decode_paging(
        rng,
        contexts,
        sizes.block_size,
        tables,
        draw(_choice["bad_blocks"]),
        draw(_choice["tail"]),
        draw(_choice["bad_slots"]),
        index_dtype,
    )
    return {
        "phase": "decode",
        "query_lens": (1,) * len(contexts),
        "key_lens": contexts,
        "index_dtype": index_dtype,
        "cache_layout": draw(_choice["cache_layout"]),
        **vars(paging),
    }


def _prefill(draw: st.DrawFn, rng: np.random.Generator, sizes: _Sizes) -> dict[str, Any]:
    lengths = [
        tuple(sizes.length(code, sizes.longest_square) for code in (query, query if key == "same" else key))
        for query, key in draw(_lengths)
    ]
    index_dtype = draw(_choice["index_dtype"])
    fields = {
        "phase": "prefill",
        "query_lens": tuple(query for query, _ in lengths),
        "key_lens": tuple(key for _, key in lengths),
        "index_dtype": index_dtype,
        "causal_alignment": draw(_choice["alignment"]),
    }
    if not draw(_choice["cache"]):
        return fields
    tokens = sum(fields["key_lens"])
    paging = prefill_paging(rng, tokens, sizes.block_size, draw(_choice["bad_slots"]), index_dtype)
    return {**fields, "cache_layout": draw(_choice["cache_layout"]), **vars(paging)}


def _planted(rng: np.random.Generator, problem: Problem, value: str) -> tuple[Special, ...]:
    """One or two NaN or Inf anywhere: seen by all, by some or by nobody."""
    rows = {"q": problem.num_queries, "k": problem.num_new_keys, "v": problem.num_new_keys}
    rows |= {"k_cache": problem.num_slots, "v_cache": problem.num_slots}
    if problem.cache_dtype:
        rows["k"] = rows["v"] = 0  # see `narrow`
    names = [name for name, count in rows.items() if count]
    specials = []
    for name in rng.choice(names, size=int(rng.integers(1, 3))).tolist() if names else ():
        heads = problem.num_heads if name == "q" else problem.num_kv_heads
        where = (int(rng.integers(size)) for size in (rows[name], heads, problem.head_dim))
        specials.append(Special(name, *where, value))  # type: ignore[arg-type]
    return tuple(specials)


def _misused(draw: st.DrawFn, problem: Problem) -> Problem:
    has_tokens = bool(problem.num_queries and problem.num_new_keys)
    names = [
        name
        for name, misuse in MISUSES.items()
        if misuse.applies(problem.phase, has_tokens, problem.num_blocks > 0, "raise")
    ]
    if not names:
        return problem
    name = draw(st.sampled_from(names))
    return replace(problem, misuse=name, on_invalid="raise" if MISUSES[name].raises else "drop")
