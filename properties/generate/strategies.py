"""Whole problems for Hypothesis: valid by construction, few draws each.

What is drawn is structure, as choices that shrink to the first: one sequence, one token, one head, head_dim 1, ones.
Where exactly a -1 slot or a bad block lies, and every number, comes from a drawn seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import prod
from random import Random
from typing import Any, NamedTuple, get_args

import hypothesis.strategies as st

from properties.generate.options import BATCHES, CALLS, HEAD_DIMS, MANY, options
from properties.generate.paging import NO_CACHE, decode_paging, prefill_paging
from properties.generate.uniform import scorings, uniform_problems
from verification.backends.contract import Contract
from verification.backends.promises import ARGUMENTS
from verification.problem import Problem, Special
from verification.problem.misuse import MISUSES
from verification.problem.problem import Phase
from verification.problem.scoring import PLAIN
from verification.problem.table import NUMBERED, TENSORS

# Multiply-adds a sequence and elements a block beyond which a problem teaches no more, only slower.
_WORK, _LONGEST = 20_000, 600
_MAX_BLOCK = 256 * 64
# The same for a block of very many; the larger one is for backends without small head_dims.
_MAX_BLOCK_OF_MANY = (4, 16)
MASKS = {"bool_mask", "float_mask", "blind_rows"}
# Up to how many options Hypothesis draws evenly; of more, it prefers the first.
_MOST_OPTIONS = 256


def _one_of(*options: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One draw for a tuple with one of each, since a draw costs as much as any other step of a small problem. Sorted by
    how far they are from all the first ones, so that they shrink there; `properties.shrink.reduce` does the rest.
    """
    assert prod(map(len, options)) <= _MOST_OPTIONS
    indices = product(*(range(len(choices)) for choices in options))
    ordered = sorted(indices, key=lambda index: (sum(index), max(index)))
    return st.sampled_from([tuple(choices[i] for choices, i in zip(options, index, strict=True)) for index in ordered])


_seed = st.integers(0, 2**32 - 1)
_PLACES = range(max(map(len, BATCHES)))


class _Draws(NamedTuple):
    """A strategy for each place in the batch where sequences have lengths. Of equal ones Hypothesis copies what it drew
    for one sequence to another, and tries five such copies: five problems in six would be the sixth but for a length.
    """

    calls: st.SearchStrategy[Any]
    paging: st.SearchStrategy[Any]
    memory: st.SearchStrategy[Any]
    fills: st.SearchStrategy[Any]
    tables: st.SearchStrategy[Any]
    lengths: list[st.SearchStrategy[Any]]
    contexts: list[st.SearchStrategy[Any]]
    hostile_tails: bool


@cache
def _draws(phases: tuple[str, ...], undefined: frozenset[str]) -> _Draws:
    left = options(undefined)
    return _Draws(
        _one_of([call for call in left.calls if call.phase in phases], left.batches),
        _one_of(left.block_sizes, left.cache_layouts, left.bad_slots),
        _one_of(left.layouts, left.poisons, left.specials),
        _one_of(left.score_fills, left.value_fills, left.index_dtypes),
        _one_of(left.tables, left.tails, left.bad_blocks),
        [_one_of((place,), left.lengths, left.key_lengths) for place in _PLACES],
        [_one_of((place,), left.contexts) for place in _PLACES],
        left.hostile_tails,
    )


@cache
def _sizes(head_dims: tuple[int, ...], many_blocks: bool, undefined: frozenset[str]) -> st.SearchStrategy[Any]:
    """Heads, a head_dim, and how many elements a block may hold that is one of many; 0 for a cache of a few blocks."""
    heads = options(undefined).heads
    pairs = list(product(heads, head_dims))
    for limit in _MAX_BLOCK_OF_MANY if many_blocks else ():
        small = [(heads, dim, limit) for heads, dim in pairs if heads[1] * dim <= limit]
        if small:
            return st.sampled_from(small)
    return _one_of(heads, head_dims, (0,))


@st.composite
def problems(
    draw: st.DrawFn,
    dtype: str,
    phases: tuple[str, ...] = ("prefill", "decode"),
    plain: bool = False,
    bad_input: bool = False,
    head_dims: tuple[int, ...] = HEAD_DIMS,
    tried: tuple[tuple[int, int, int, int], ...] = (),
    undefined: frozenset[str] = frozenset(),
    scoring: frozenset[str] = frozenset(),
    refused: frozenset[str] = frozenset(ARGUMENTS),
) -> Problem:
    """A problem in ``dtype``. ``plain`` ones hold neither NaN nor Inf where they are seen, in caches of their own
    dtype; ``bad_input`` ones carry a misuse of one of the ``refused`` arguments wherever one applies. ``head_dims`` are
    those that a backend supports, ``tried`` all sizes (H, G, D, S) that it is to be asked with, over caches without
    gaps; empty means any. Nothing is drawn that always has an ``undefined`` label. ``scoring`` are the features of
    `Scoring` that may be in force; masks, which take equal lengths, are not.
    """
    draws = _draws(phases, undefined)
    call, batch = draw(draws.calls)
    (num_heads, num_kv_heads), head_dim, many = draw(_sizes(head_dims, call.many_blocks, undefined))
    block_size, cache_layout, bad_slots = draw(draws.paging)
    if tried:
        num_heads, num_kv_heads, head_dim, block_size = draw(st.sampled_from(tried))
        many, cache_layout = 0, "contiguous"
    sizes = _Sizes(num_heads, num_kv_heads, head_dim, block_size, many)
    seed = draw(_seed)
    layout, poison, special = draw(draws.memory)
    scores, values, index_dtype = draw(draws.fills)
    narrow = dtype == "float32" and not plain and seed % 8 in (3, 5)
    if narrow:  # how a NaN's payload is narrowed is nobody's promise, and caches are compared byte by byte
        poison = tuple("large" if kind == "nan" else kind for kind in poison)
    problem = Problem(
        dtype=dtype,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=sizes.head_dim,
        block_size=sizes.block_size,
        cache_dtype=("float16", "bfloat16")[seed // 2 % 2] if narrow else "",
        index_dtype=index_dtype,
        layout=layout,
        cache_layout=cache_layout,
        score_fill=scores,
        value_fill=values,
        poison=poison,
        seed=seed,
        causal_alignment=call.alignment,
        scoring=draw(scorings(scoring - MASKS, causal=True)) if scoring else PLAIN,
        **(
            _prefill(draw, draws, seed, sizes, batch, bad_slots, index_dtype, call.has_cache)
            if call.phase == "prefill"
            else _paged(draw, draws, call.phase, seed, sizes, batch, bad_slots, index_dtype)
        ),
    )
    if special and not plain:
        problem = replace(problem, specials=_planted(problem, special))
    return _misused(draw, problem, refused) if bad_input else problem


@dataclass(frozen=True)
class _Sizes:
    num_heads: int
    num_kv_heads: int
    head_dim: int
    drawn_block_size: int
    max_block_of_many: int

    @property
    def block_size(self) -> int:
        """As drawn, unless a block would be too large to be tried by the thousand."""
        limit, otherwise = (self.max_block_of_many, 1) if self.max_block_of_many else (_MAX_BLOCK, 16)
        too_large = self.drawn_block_size * self.num_kv_heads * self.head_dim > limit
        return otherwise if too_large else self.drawn_block_size

    def length(self, code: int | str, rows: int = 1) -> int:
        """What ``code`` stands for, capped by what it costs: as queries, or as keys of so many ``rows`` of queries."""
        size = self.block_size
        named = {"S-1": size - 1, "S": size, "S+1": size + 1, "2S": 2 * size, "3S+2": 3 * size + 2}
        named["long"] = min(260, 100 * size)
        longest = _WORK // (self.num_heads * max(rows, self.head_dim))
        return min(named[code] if isinstance(code, str) else code, longest, _LONGEST)


def _paged(
    draw: st.DrawFn,
    draws: _Draws,
    phase: str,
    seed: int,
    sizes: _Sizes,
    batch: Sequence[bool],
    bad_slots: str,
    index_dtype: str,
) -> dict[str, Any]:
    """A decode or a chunked prefill, whose prefix is as long as the context of a decode, or nothing."""
    queries, contexts = (1,) * len(batch), []
    if phase == "chunked":
        drawn_queries = (draw(place)[1] if drawn else 0 for place, drawn in zip(draws.lengths, batch, strict=False))
        queries = tuple(map(sizes.length, drawn_queries))
    for context, new, drawn in zip(draws.contexts, queries, batch, strict=False):
        length = sizes.length(draw(context)[1], rows=new) if drawn else 0
        contexts.append(length if phase == "decode" else new + length)
    tables, tail, bad_blocks = draw(draws.tables)
    tables = MANY if sizes.max_block_of_many else tables
    spoilt = bad_blocks, tail, bad_slots, index_dtype, draws.hostile_tails
    paging = decode_paging(seed, contexts, sizes.block_size, tables, *spoilt, new=queries)
    return {"phase": phase, "query_lens": queries, "key_lens": tuple(contexts), **vars(paging)}


def _prefill(
    draw: st.DrawFn,
    draws: _Draws,
    seed: int,
    sizes: _Sizes,
    batch: Sequence[bool],
    bad_slots: str,
    index_dtype: str,
    has_cache: bool,
) -> dict[str, Any]:
    lengths = []
    for place, drawn in zip(draws.lengths, batch, strict=False):
        _, query, key = draw(place)
        queries = sizes.length(query)
        keys = sizes.length(query if key == "same" else key, rows=queries) if drawn else 0
        lengths.append((queries, keys))
    tokens = sum(key for _, key in lengths)
    paging = prefill_paging(seed, tokens, sizes.block_size, bad_slots, index_dtype) if has_cache else NO_CACHE
    return {
        "phase": "prefill",
        "query_lens": tuple(query for query, _ in lengths),
        "key_lens": tuple(key for _, key in lengths),
        **vars(paging),
    }


def _planted(problem: Problem, value: str) -> tuple[Special, ...]:
    """One or two NaN or Inf anywhere: seen by all, by some or by nobody."""
    shapes = {name: TENSORS[name].shape(problem) for name in NUMBERED}
    if problem.cache_dtype:  # see `narrow`
        shapes = {name: shape for name, shape in shapes.items() if TENSORS[name].role not in ("key", "value")}
    names = [name for name, shape in shapes.items() if prod(shape)]
    rng = Random(problem.seed)
    specials = []
    for name in rng.choices(names, k=rng.randint(1, 2)) if names else ():
        *tokens, heads, dims = shapes[name]
        row, head, dim = map(rng.randrange, (prod(tokens), heads, dims))
        specials.append(Special(name, row, head, dim, value))  # type: ignore[arg-type]
    return tuple(specials)


def _misused(draw: st.DrawFn, problem: Problem, refused: frozenset[str]) -> Problem:
    has_tokens = bool(problem.num_queries and problem.num_new_keys)
    names = [
        name
        for name, misuse in MISUSES.items()
        if misuse.argument in refused and misuse.applies(problem.phase, has_tokens, problem.num_blocks > 0, "raise")
    ]
    if not names:
        return problem
    name = draw(st.sampled_from(names))
    return replace(problem, misuse=name, on_invalid="raise" if MISUSES[name].raises else "drop")


def can_misuse(phase: str, refused: frozenset[str]) -> bool:
    """Tell whether some call of that phase has an argument that must be refused."""
    return any(misuse.argument in refused and misuse.phase in ("", phase) for misuse in MISUSES.values())


def problems_within(
    contract: Contract,
    dtype: str,
    phases: tuple[str, ...] = get_args(Phase),
    plain: bool = False,
    bad_input: bool = False,
) -> st.SearchStrategy[Problem]:
    """`problems` that the contract speaks of. Where it differs from phase to phase, the phase is drawn first."""
    phases = tuple(phase for phase in phases if phase in contract.phases)
    own = {phase: contract.in_phase(phase) for phase in phases}
    if bad_input:
        phases = tuple(phase for phase in phases if can_misuse(phase, own[phase].refused)) or phases
        own = {phase: own[phase] for phase in phases}
    if len(set(own.values())) > 1:
        each = {phase: problems_within(own[phase], dtype, (phase,), plain, bad_input) for phase in phases}
        return st.sampled_from([call.phase for call in CALLS if call.phase in phases]).flatmap(each.__getitem__)
    contract = next(iter(own.values()), contract)
    plain = plain or not contract.nonfinite
    head_dims, undefined = contract.head_dims or HEAD_DIMS, contract.undefined
    if "bottom_right" not in contract.alignments:
        undefined |= {"call: prefill bottom-right"}
    if "top_left" not in contract.alignments:
        undefined |= {"call: prefill top-left"}
    filtered = bool(contract.undefined) or contract.blind == "undefined" or 0 < contract.longest < _LONGEST
    if contract.dense_batches:
        drawn = uniform_problems(dtype, contract, head_dims)
    else:
        refused = contract.refused or frozenset(ARGUMENTS)
        sizes = contract.compiled_sizes
        drawn = problems(dtype, phases, plain, bad_input, head_dims, sizes, undefined, contract.scoring, refused)
    return drawn.filter(contract.defines) if filtered else drawn
