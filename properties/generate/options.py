"""What problems are drawn from, and what is left of it where a contract leaves something open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, TypeVar

from verification.problem.problem import CausalAlignment, Phase, ScoreFill, ValueFill

# (H, G): ratios 1, 2, 3, 5, 8, one kv head and several, ratios equal and unequal to G.
HEADS = ((1, 1), (2, 1), (2, 2), (4, 2), (3, 1), (3, 3), (6, 2), (5, 1), (8, 1), (10, 2), (8, 8), (16, 2))
HEAD_DIMS = (1, 2, 3, 12, 16, 64, 80, 128)
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
POISONS = (
    ("zero", "zero"),
    ("nan", "nan"),
    ("nan", "zero"),
    ("zero", "nan"),
    ("large", "large"),
    ("negative", "large"),
)
# A length is a number or one around the block size; the work that it may cause is capped below.
LENGTHS: tuple[int | str, ...] = (1, 0, 2, 3, "S-1", "S", "S+1", "2S", "3S+2", 33)
KEY_LENGTHS: tuple[int | str, ...] = ("same", *LENGTHS)
CONTEXTS: tuple[int | str, ...] = (1, 0, 2, "S-1", "S", "S+1", "2S", "3S+2", "long")
SPECIALS = (None, None, None, "nan", "inf", "-inf")
INDEX_DTYPES = ("int64", "int32")


class Call(NamedTuple):
    """A decode or a chunked prefill, maybe from a cache of many blocks, or a prefill with an alignment and with or
    without a cache.
    """

    phase: Phase
    alignment: CausalAlignment = "top_left"
    has_cache: bool = True
    many_blocks: bool = False


CALLS = (
    *(Call("prefill"), Call("decode"), Call("prefill", "bottom_right"), Call("decode")) * 3,
    Call("prefill", has_cache=False),
    Call("decode"),
    Call("prefill", "bottom_right", has_cache=False),
    Call("decode", many_blocks=True),
    *(Call("chunked"),) * 3,
    Call("chunked", many_blocks=True),
)
# Which sequences of a batch have lengths to draw; the others have no keys.
BATCHES = ((True,), (), (True, True), (True,), (True,) * 3, (True, False, True), (True, True), (True, True))
TAILS = (0, 1, 3)
# The tables of a cache of many blocks, and of others.
MANY = "many"
TABLES = ("identity", "shuffled", "shared", "reversed", "maximal", "shared")
BAD_BLOCKS = ("none", "none", "none", "padding", "negative", "too_large", "short_table")
BAD_SLOTS = ("none", "padding", "none", "negative", "duplicate", "padding", "none", "too_large", "all", "duplicate")

Option = TypeVar("Option")


@dataclass(frozen=True)
class Options:
    """The first of each is what problems shrink to. ``hostile_tails``: block tables hold anything behind a context."""

    calls: Sequence[Call] = CALLS
    batches: Sequence[tuple[bool, ...]] = BATCHES
    heads: Sequence[tuple[int, int]] = HEADS
    block_sizes: Sequence[int] = (*BLOCK_SIZES, 3)
    cache_layouts: Sequence[str] = CACHE_LAYOUTS
    bad_slots: Sequence[str] = BAD_SLOTS
    layouts: Sequence[str] = LAYOUTS
    poisons: Sequence[tuple[str, str]] = POISONS
    specials: Sequence[str | None] = SPECIALS
    score_fills: Sequence[ScoreFill] = SCORE_FILLS
    value_fills: Sequence[ValueFill] = VALUE_FILLS
    index_dtypes: Sequence[str] = INDEX_DTYPES
    tables: Sequence[str] = TABLES
    tails: Sequence[int] = TAILS
    bad_blocks: Sequence[str] = BAD_BLOCKS
    lengths: Sequence[int | str] = LENGTHS
    key_lengths: Sequence[int | str] = KEY_LENGTHS
    contexts: Sequence[int | str] = CONTEXTS
    hostile_tails: bool = True


_SLOTS = {"padding": "-1", "negative": "< -1", "too_large": "too large", "duplicate": "twice"}
_BLOCKS = {"padding": "-1", "negative": "< -1", "too_large": "too large", "short_table": "table too short"}
# Labels of `verification.problem.labels` that an option always brings. What brings one now and then is filtered.
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


def left_of(name: str, choices: Sequence[Option], undefined: frozenset[str]) -> list[Option]:
    """The ``choices`` of that field that bring none of these labels. Raises ValueError where there are none."""
    brings = _BRINGS[name]
    left = [choice for choice in choices if brings(choice).isdisjoint(undefined)]
    if not left:
        raise ValueError(f"undefined: {sorted(undefined)} (leaves no {name})")
    return left


@cache
def options(undefined: frozenset[str]) -> Options:
    """What is left of all of them."""
    left = {name: left_of(name, getattr(Options, name), undefined) for name in _BRINGS}
    return Options(**left, hostile_tails="blocks: bad and not needed" not in undefined)
