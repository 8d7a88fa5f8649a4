"""Strategies of Hypothesis for whole problems: valid by construction, few draws each.

Draws are structure, as choices that shrink to the first: one sequence, one token, one head, head_dim 1, ones. A drawn
seed decides the rest: in which place a -1 slot or a bad block lies, and every number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from math import prod
from random import Random
from typing import Any, NamedTuple, get_args

import hypothesis.strategies as st

from properties.generate.even import half_normal_fills, one_of
from properties.generate.large import IS_LARGE, choose_sizes
from properties.generate.options import BATCHES, CALLS, HEAD_DIMS, MANY, Call, Options, limit_options
from properties.generate.paging import NO_CACHE, Paging, forget_behind, page_contexts, page_prefill
from properties.generate.sizes import LONGEST, MAX_BLOCK_OF_MANY, Sizes
from properties.generate.uniform import scorings, uniform_problems
from verification.backends.contract import Contract
from verification.backends.promises import ARGUMENTS
from verification.problem import Problem, Special
from verification.problem.misuse import MISUSES
from verification.problem.problem import Phase
from verification.problem.scoring import PLAIN
from verification.problem.table import NUMBERED, TENSORS

MASKS = {"bool_mask", "float_mask", "blind_rows"}
_seed = st.integers(0, 2**32 - 1)
_PLACES = range(max(map(len, BATCHES)))


class _Draws(NamedTuple):
    """The draws of a problem.

    Hypothesis mutates by copying values between equal strategies, in five tries after each new problem: five problems
    in six would be copies that differ in a length. One strategy for each place in the batch prevents that, so problems
    stay independent.
    """

    calls: st.SearchStrategy[Any]
    """(call, batch), as in `Options`."""
    paging: st.SearchStrategy[Any]
    """(block size, cache layout, bad slots)."""
    memory: st.SearchStrategy[Any]
    """(layout, poisons, special)."""
    fills: st.SearchStrategy[Any]
    """(score fill, value fill, index dtype)."""
    tables: st.SearchStrategy[Any]
    """(tables, tail, bad blocks) of a call that reads its cache."""
    lengths: list[st.SearchStrategy[Any]]
    """For each place in the batch (place, new tokens, keys); the place makes the strategies unequal."""
    contexts: list[st.SearchStrategy[Any]]
    """For each place in the batch (place, context)."""
    left: Options
    """Options that they draw from; some are not drawn."""


@cache
def _make_draws(phases: tuple[str, ...], undefined: frozenset[str], half_normal: bool) -> _Draws:
    left = limit_options(undefined)
    fills = left.score_fills, left.value_fills, left.index_dtypes
    return _Draws(
        one_of([call for call in left.calls if call.phase in phases], left.batches),
        one_of(left.block_sizes, left.cache_layouts, left.bad_slots),
        one_of(left.layouts, left.poisons, left.specials),
        half_normal_fills(*fills) if half_normal else one_of(*fills),
        one_of(left.tables, left.tails, left.bad_blocks),
        [one_of((place,), left.lengths, left.key_lengths) for place in _PLACES],
        [one_of((place,), left.contexts) for place in _PLACES],
        left,
    )


@cache
def _draw_sizes(head_dims: tuple[int, ...], many_blocks: bool, undefined: frozenset[str]) -> st.SearchStrategy[Any]:
    """Return a strategy for ((H, G), D, limit): the most elements of a block of many, or 0 in a cache of few blocks."""
    heads = limit_options(undefined).heads
    pairs = list(product(heads, head_dims))
    for limit in MAX_BLOCK_OF_MANY if many_blocks else ():
        small = [(heads, dim, limit) for heads, dim in pairs if heads[1] * dim <= limit]
        if small:
            return st.sampled_from(small)
    return one_of(heads, head_dims, (0,))


@st.composite
def problems(
    draw: st.DrawFn,
    dtype: str,
    phases: tuple[str, ...] = ("prefill", "decode"),
    plain: bool = False,
    bad_input: bool = False,
    head_dims: tuple[int, ...] = HEAD_DIMS,
    compiled_sizes: tuple[tuple[int, int, int, int], ...] = (),
    undefined: frozenset[str] = frozenset(),
    scoring: frozenset[str] = frozenset(),
    refused: frozenset[str] = frozenset(ARGUMENTS),
    half_normal: bool = False,
) -> Problem:
    """Return a problem in ``dtype``, of one of the ``phases``.

    ``plain`` problems have neither NaN nor Inf but in poison, and caches of their own dtype. ``bad_input`` ones carry a
    misuse of one of the ``refused`` arguments wherever one applies. ``head_dims`` are those that a backend supports.
    ``compiled_sizes`` are all sizes (H, G, D, S) that the backend is to be asked with, over contiguous caches; empty
    means any. No choice is drawn that always brings an ``undefined`` label. ``scoring`` are the features of `Scoring`
    that may be in force, but masks, which take equal lengths. ``half_normal`` asks for `half_normal_fills`.
    """
    draws, is_large = _make_draws(phases, undefined, half_normal), draw(IS_LARGE)
    call, batch = draw(draws.calls)
    (num_heads, num_kv_heads), head_dim, many = draw(_draw_sizes(head_dims, call.many_blocks, undefined))
    block_size, cache_layout, bad_slots = draw(draws.paging)
    if compiled_sizes:
        num_heads, num_kv_heads, head_dim, block_size = draw(st.sampled_from(compiled_sizes))
        many, cache_layout = 0, "contiguous"
    sizes, seed = Sizes(num_heads, num_kv_heads, head_dim, block_size, many, bool(compiled_sizes)), draw(_seed)
    large = choose_sizes(seed, call, head_dims, compiled_sizes, undefined) if is_large else None
    sizes, lengths = large or (sizes, _draw_lengths(draw, draws, call.phase, sizes, batch))
    (layout, poison, special), (scores, values, index_dtype) = draw(draws.memory), draw(draws.fills)
    cache_dtype = "" if plain else _choose_narrow_cache(dtype, seed)
    if cache_dtype:  # kernels narrow a NaN's payload as they like, and caches are compared byte by byte
        poison = tuple("large" if kind == "nan" else kind for kind in poison)
    rules = draw(scorings(scoring - MASKS, causal=True)) if scoring else PLAIN
    problem = Problem(
        dtype=dtype,
        num_heads=sizes.num_heads,
        num_kv_heads=sizes.num_kv_heads,
        head_dim=sizes.head_dim,
        block_size=sizes.block_size,
        cache_dtype=cache_dtype,
        index_dtype=index_dtype,
        layout=layout,
        cache_layout=cache_layout,
        score_fill=scores,
        value_fill=values,
        poison=poison,
        seed=seed,
        causal_alignment=call.alignment,
        scoring=rules,
        phase=call.phase,
        query_lens=tuple(queries for queries, _ in lengths),
        key_lens=tuple(keys for _, keys in lengths),
        **vars(_draw_paging(draw, draws, call, seed, sizes, lengths, bad_slots, index_dtype, rules.window)),
    )
    if special and not plain:
        problem = replace(problem, specials=_plant(problem, special))
    return _misuse(draw, problem, refused) if bad_input else problem


def _choose_narrow_cache(dtype: str, seed: int) -> str:
    """Return the dtype of a cache that is narrower than the problem, or an empty text for one of the problem's own.

    A quarter of the float32 problems have a narrow cache, half of these in each format. The seed decides, which saves a
    draw: residue 3 of 8 is bfloat16, 5 is float16. Any two residues would do that differ in the second bit, for the
    format; these leave 0, 1 and 2 out, to which seeds shrink, so that a problem shrinks to the simple cache.
    """
    return ("float16", "bfloat16")[seed // 2 % 2] if dtype == "float32" and seed % 8 in (3, 5) else ""


def _draw_lengths(
    draw: st.DrawFn, draws: _Draws, phase: str, sizes: Sizes, batch: Sequence[bool]
) -> list[tuple[int, int]]:
    """Return (new tokens, keys) of each sequence. The prefix of a chunk is drawn as the context of a decode is."""
    if phase == "prefill":
        return [_draw_prefill(draw, place, sizes, drawn) for place, drawn in zip(draws.lengths, batch, strict=False)]
    queries, lengths = (1,) * len(batch), []
    if phase == "chunked":
        drawn_queries = (draw(place)[1] if drawn else 0 for place, drawn in zip(draws.lengths, batch, strict=False))
        queries = tuple(map(sizes.length, drawn_queries))
    for context, new, drawn in zip(draws.contexts, queries, batch, strict=False):
        length = sizes.length(draw(context)[1], rows=new) if drawn else 0
        lengths.append((new, length if phase == "decode" else new + length))
    return lengths


def _draw_prefill(draw: st.DrawFn, place: st.SearchStrategy[Any], sizes: Sizes, drawn: bool) -> tuple[int, int]:
    """Return the lengths of one sequence, of which one that is not ``drawn`` has no keys."""
    _, query, key = draw(place)
    queries = sizes.length(query)
    return queries, sizes.length(query if key == "same" else key, rows=queries) if drawn else 0


def _draw_paging(
    draw: st.DrawFn,
    draws: _Draws,
    call: Call,
    seed: int,
    sizes: Sizes,
    lengths: Sequence[tuple[int, int]],
    bad_slots: str,
    index_dtype: str,
    window: int,
) -> Paging:
    """Return the place of the tokens in a cache, if the call has one."""
    queries, keys = [list(part) for part in zip(*lengths, strict=True)] or ([], [])
    if call.phase == "prefill":
        spoilt = bad_slots, index_dtype
        return page_prefill(seed, sum(keys), sizes.block_size, *spoilt) if call.has_cache else NO_CACHE
    tables, tail, bad_blocks = draw(draws.tables)
    tables = MANY if sizes.max_block_of_many else tables
    left = draws.left
    rest = bad_blocks, tail, bad_slots, index_dtype, left.hostile_tails, left.ordered
    paging = page_contexts(seed, keys, sizes.block_size, tables, *rest, new=queries)
    if window and not left.ordered:
        where = queries, keys, window, sizes.block_size, index_dtype
        paging = forget_behind(seed, paging, *where, left.hostile_behind)
    return paging


def _plant(problem: Problem, value: str) -> tuple[Special, ...]:
    """Return one or two NaN or Inf at any place: seen by all queries, by some or by none."""
    shapes = {name: TENSORS[name].shape(problem) for name in NUMBERED}
    if problem.cache_dtype:  # a NaN in K or V would be narrowed into the cache, and kernels do that as they like
        shapes = {name: shape for name, shape in shapes.items() if TENSORS[name].role not in ("key", "value")}
    names = [name for name, shape in shapes.items() if prod(shape)]
    rng = Random(problem.seed)
    specials = []
    for name in rng.choices(names, k=rng.randint(1, 2)) if names else ():
        *tokens, heads, dims = shapes[name]
        row, head, dim = map(rng.randrange, (prod(tokens), heads, dims))
        specials.append(Special(name, row, head, dim, value))  # type: ignore[arg-type]
    return tuple(specials)


def _misuse(draw: st.DrawFn, problem: Problem, refused: frozenset[str]) -> Problem:
    """Return the problem with a misuse of one of the ``refused`` arguments, or unchanged where none applies."""
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
    """Return True if a call of that phase has an argument that must be refused."""
    return any(misuse.argument in refused and misuse.phase in ("", phase) for misuse in MISUSES.values())


def problems_within(
    contract: Contract,
    dtype: str,
    phases: tuple[str, ...] = get_args(Phase),
    plain: bool = False,
    bad_input: bool = False,
    half_normal: bool = False,
) -> st.SearchStrategy[Problem]:
    """Return a strategy for problems that the contract speaks of, of any kind that it has.

    The phase is drawn first where the contract differs from phase to phase. With ``half_normal`` at least half of them
    are filled by normal numbers, if these are left.
    """
    phases = tuple(phase for phase in phases if phase in contract.phases)
    own = {phase: contract.in_phase(phase) for phase in phases}
    if bad_input:
        phases = tuple(phase for phase in phases if can_misuse(phase, own[phase].refused)) or phases
        own = {phase: own[phase] for phase in phases}
    if len(set(own.values())) > 1:
        kind = plain, bad_input, half_normal
        each = {phase: problems_within(own[phase], dtype, (phase,), *kind) for phase in phases}
        return st.sampled_from([call.phase for call in CALLS if call.phase in phases]).flatmap(each.__getitem__)
    contract = next(iter(own.values()), contract)
    plain = plain or not contract.nonfinite
    head_dims, undefined = contract.head_dims or HEAD_DIMS, contract.undefined
    if "bottom_right" not in contract.alignments:
        undefined |= {"call: prefill bottom-right"}
    if "top_left" not in contract.alignments:
        undefined |= {"call: prefill top-left"}
    filtered = bool(contract.undefined) or contract.blind == "undefined" or 0 < contract.longest < LONGEST
    if contract.dense_batches:
        drawn = uniform_problems(dtype, contract, head_dims, half_normal)
    else:
        refused = contract.refused or frozenset(ARGUMENTS)
        limits = head_dims, contract.compiled_sizes, undefined, contract.scoring, refused
        drawn = problems(dtype, phases, plain, bad_input, *limits, half_normal)
    return drawn.filter(contract.defines) if filtered else drawn
