"""Options that problems are drawn from, and the choices that remain of them under a contract.

The first choice of each option is the simplest, to which a failing problem shrinks. A choice that stands twice is drawn
twice as often. The weights are such that 200 problems without limits reach each edge of `tests/properties/edges.py`
with a probability of 99 %, which `tests/quality/test_discovery.py` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar

from verification.problem.labels_behind import BAD_BLOCKS_BEHIND
from verification.problem.problem import CausalAlignment, Phase, ScoreFill, ValueFill

# (H, G): ratios H/G of 1, 2, 3, 5 and 8, with one kv head and with several, and ratios equal and unequal to G, since a
# kernel that confuses the two is right where they are equal.
HEADS = ((1, 1), (2, 1), (2, 2), (4, 2), (3, 1), (3, 3), (6, 2), (5, 1), (8, 1), (10, 2), (8, 8), (16, 2))
# The smallest ones, three that are no powers of two (3, 12, 80), and those of models (64, 80, 128).
HEAD_DIMS = (1, 2, 3, 12, 16, 64, 80, 128)
# The smallest ones, with one that is no power of two, and two sizes of engines.
BLOCK_SIZES = (1, 2, 3, 16, 256)
SCORE_FILLS: tuple[ScoreFill, ...] = (
    *("ones", "normal", "zeros", "integers", "onehot", "steep", "negative", "huge", "tiny", "outlier"),
)
VALUE_FILLS: tuple[ValueFill, ...] = (
    "ones",
    "index",
    "normal",
    "zeros",
    "integers",
    "onehot",
    "huge",
    "tiny",
    "outlier",
)
LAYOUTS = ("contiguous", "fused", "transposed", "strided")
CACHE_LAYOUTS = ("contiguous", "interleaved", "transposed")
# Bytes around K and around V that no query may see. In some pairs they differ, so that a kernel that reads only one of
# the two is caught.
POISONS = (
    ("zero", "zero"),
    ("nan", "nan"),
    ("nan", "zero"),
    ("zero", "nan"),
    ("large", "large"),
    ("negative", "large"),
)
# A length in tokens, or one around the block size S. `strategies` caps the work that it may cause. 33 is the longest
# that does not grow with the block: one more than 32, a common tile.
LENGTHS: tuple[int | str, ...] = (1, 0, 2, 3, "S-1", "S", "S+1", "2S", "3S+2", 33)
# Keys of a prefill; "same" is as many as it has queries.
KEY_LENGTHS: tuple[int | str, ...] = ("same", *LENGTHS)
# Context of a decode, or of a chunk before its new tokens; "long" is just past 256 keys where the caps allow it.
CONTEXTS: tuple[int | str, ...] = (1, 0, 2, "S-1", "S", "S+1", "2S", "3S+2", "long")
# NaN or Inf anywhere among the numbers, in half of the problems: an output that is NaN hides any other error in it.
SPECIALS = (None, None, None, "nan", "inf", "-inf")
INDEX_DTYPES = ("int64", "int32")


class Call(NamedTuple):
    """A kind of call."""

    phase: Phase
    alignment: CausalAlignment = "top_left"
    """Place of the diagonal of a prefill."""
    has_cache: bool = True
    """False for a prefill that stores nothing."""
    many_blocks: bool = False
    """True if a decode or a chunked prefill reads a cache of `paging.MANY_BLOCKS` blocks."""


# A prefill without a cache, and a cache of many blocks, have one edge each and so a low weight; the others have dozens.
CALLS = (
    *(Call("prefill"), Call("decode"), Call("prefill", "bottom_right"), Call("decode")) * 3,
    Call("prefill", has_cache=False),
    Call("decode"),
    Call("prefill", "bottom_right", has_cache=False),
    Call("decode", many_blocks=True),
    *(Call("chunked"),) * 3,
    Call("chunked", many_blocks=True),
)
# Batches: True for each sequence whose lengths are drawn, False for one without keys.
BATCHES = ((True,), (), (True, True), (True,), (True,) * 3, (True, False, True), (True, True), (True, True))
# Columns of the block tables beyond those that the longest context needs.
TAILS = (0, 1, 3)
# Orders of the blocks in the tables: that of a cache of many blocks, and those of others. "shared" stands twice, since
# only batches of two sequences and more can share a block.
MANY = "many"
TABLES = ("identity", "shuffled", "shared", "reversed", "maximal", "shared")
BAD_BLOCKS = ("none", "none", "none", "padding", "negative", "too_large", "short_table")
BAD_SLOTS = ("none", "padding", "none", "negative", "duplicate", "padding", "none", "too_large", "all", "duplicate")

Option = TypeVar("Option")


@dataclass(frozen=True)
class Options:
    """Choices of each option that a problem is drawn from, simplest first."""

    calls: Sequence[Call] = CALLS
    """Kinds of calls."""
    batches: Sequence[tuple[bool, ...]] = BATCHES
    """Sequences of a batch: True where lengths are drawn, False where there are no keys."""
    heads: Sequence[tuple[int, int]] = HEADS
    """Query heads and kv heads (H, G)."""
    block_sizes: Sequence[int] = (*BLOCK_SIZES, 3)
    """Tokens of a block. 3 stands twice: only for S > 2 are lengths around S edges of their own, and the work caps
    those around the large sizes.
    """
    cache_layouts: Sequence[str] = CACHE_LAYOUTS
    """Strides of the caches."""
    bad_slots: Sequence[str] = BAD_SLOTS
    """Ways to spoil slots of new tokens."""
    layouts: Sequence[str] = LAYOUTS
    """Strides of q, k and v."""
    poisons: Sequence[tuple[str, str]] = POISONS
    """Bytes around K and around V that no query may see."""
    specials: Sequence[str | None] = SPECIALS
    """NaN or Inf among the numbers, or None."""
    score_fills: Sequence[ScoreFill] = SCORE_FILLS
    """Kinds of numbers of q and k."""
    value_fills: Sequence[ValueFill] = VALUE_FILLS
    """Kinds of numbers of v."""
    index_dtypes: Sequence[str] = INDEX_DTYPES
    """Dtypes of index tensors."""
    tables: Sequence[str] = TABLES
    """Orders of blocks in the tables."""
    tails: Sequence[int] = TAILS
    """Columns of the tables beyond those that are needed."""
    bad_blocks: Sequence[str] = BAD_BLOCKS
    """Ways to spoil block ids that a context needs."""
    lengths: Sequence[int | str] = LENGTHS
    """New tokens of a sequence."""
    key_lengths: Sequence[int | str] = KEY_LENGTHS
    """Keys of a sequence of a prefill."""
    contexts: Sequence[int | str] = CONTEXTS
    """Keys of a decode, or of a chunk before its new tokens."""
    hostile_tails: bool = True
    """True if block tables hold bad ids behind a context."""
    hostile_behind: bool = True
    """True if block tables hold bad ids behind a window."""
    ordered: bool = False
    """True if the ids of a context rise, whatever order was chosen."""


_SLOTS = {"padding": "-1", "negative": "< -1", "too_large": "too large", "duplicate": "twice"}
_BLOCKS = {"padding": "-1", "negative": "< -1", "too_large": "too large", "short_table": "table too short"}
# Labels of `verification.problem.labels` that a choice always brings, by field of `Options`. Problems that have an
# undefined label by chance are filtered.
_BRINGS: dict[str, Callable[[Any], set[str]]] = {
    "calls": lambda call: {
        f"call: prefill {call.alignment.replace('_', '-')}" if call.phase == "prefill" else f"call: {call.phase}",
        "cache: own dtype" if call.has_cache else "cache: none",
    },
    "batches": lambda batch: {"sequences: 0"} if not batch else {"keys: 0"} if not all(batch) else set(),
    "heads": lambda heads: {f"H/G: {heads[0] // heads[1]}", f"G: {'1' if heads[1] == 1 else 'several'}"},
    "block_sizes": lambda size: {f"block size: {size}"},
    "cache_layouts": lambda layout: {f"cache layout: {layout}"},
    "bad_slots": lambda kind: {f"slots: {name}" for key, name in _SLOTS.items() if kind in (key, "all")},
    "layouts": lambda layout: {f"layout: {layout}"},
    "poisons": lambda pair: {f"poison around k: {pair[0]}", f"poison around v: {pair[1]}"},
    "specials": lambda value: {f"special: {value} seen"},
    "score_fills": lambda fill: {f"score fill: {fill}"},
    "value_fills": lambda fill: {f"value fill: {fill}"},
    "index_dtypes": lambda dtype: {f"indices: {dtype}"},
    "tables": lambda kind: {"blocks: shared"} if kind == "shared" else set(),
    "bad_blocks": lambda kind: {f"blocks: {_BLOCKS[kind]}"} if kind in _BLOCKS else set(),
    "lengths": lambda length: {"queries and keys: no queries"} if length == 0 else set(),
    "key_lengths": lambda length: {"keys: 0"} if length == 0 else set(),
    "contexts": lambda length: {"keys: 0"} if length == 0 else set(),
}


def keep_defined(name: str, choices: Sequence[Option], undefined: frozenset[str]) -> list[Option]:
    """Return the ``choices`` of a field of `Options` that bring no ``undefined`` label.

    Raises ValueError where no choice is left.
    """
    brings = _BRINGS[name]
    left = [choice for choice in choices if brings(choice).isdisjoint(undefined)]
    if not left:
        raise ValueError(f"undefined: {sorted(undefined)} (leaves no {name})")
    return left


@cache
def limit_options(undefined: frozenset[str]) -> Options:
    """Return all options without the choices that bring an ``undefined`` label. Raises ValueError as `keep_defined`."""
    left = {name: keep_defined(name, getattr(Options, name), undefined) for name in _BRINGS}
    return Options(
        **left,
        hostile_tails="blocks: bad and not needed" not in undefined,
        hostile_behind=BAD_BLOCKS_BEHIND not in undefined,
        ordered="blocks: out of order" in undefined,
    )
