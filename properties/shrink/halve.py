"""Reduction of a large failing problem, in few looks, until it is tiny or as small as the bug allows.

Each size is first tried at its smallest, where most bugs still show, and is halved only where that holds the law: a bug
behind a threshold keeps the smallest size that shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from properties.generate.options import BLOCK_SIZES, HEAD_DIMS, HEADS
from verification.problem import Problem
from verification.problem.edit import with_lengths
from verification.problem.large import size_of
from verification.problem.scoring import PLAIN
from verification.problem.validate import is_valid

# Most looks at a large problem, which takes up to a second each.
MOST_LOOKS = 60
# Fields in which a plain problem differs from one that only looks unusual.
_PLAIN = {"specials": (), "numbers": (), "layout": "contiguous", "cache_layout": "contiguous", "index_dtype": "int64"}


def is_large(problem: Problem) -> bool:
    """Return True if a problem is too large to be looked at hundreds of times."""
    return size_of(problem) != "tiny"


def halve_problem(problem: Problem, breaks: Callable[[Problem], bool], looks: int = MOST_LOOKS) -> Problem:
    """Return a problem that breaks the law: one that is not large, or the smallest that so many ``looks`` lead to; with
    block tables as narrow as contexts and bug allow.
    """
    left = looks

    def look(other: Problem) -> bool:
        nonlocal left
        if left <= 0 or not is_valid(other):
            return False
        left -= 1
        return breaks(other)

    before = None
    while problem != before and left > 0 and is_large(problem):
        before = problem
        for step in (_fewer_sequences, _shorter, _fewer_queries, _smaller, _plainer):
            problem = step(problem, look)
    return _narrower(problem, look)


Look = Callable[[Problem], bool]


def _fewer_sequences(problem: Problem, look: Look) -> Problem:
    """Keep the longest sequences, the first or the last ones, as few as break the law."""
    order = sorted(range(problem.num_sequences), key=lambda i: (-problem.key_lens[i], i))
    for kept in (order, sorted(order), sorted(order, reverse=True)):
        fewer = _smallest(len(kept), lambda n, kept=kept: _with_sequences(problem, kept[:n]), look)  # type: ignore[misc]
        if fewer is not None:
            return fewer
    return problem


def _with_sequences(problem: Problem, kept: Sequence[int]) -> Problem:
    for i in sorted(set(range(problem.num_sequences)) - set(kept), reverse=True):
        problem = with_lengths(problem, i, None)
    return problem


def _shorter(problem: Problem, look: Look) -> Problem:
    """Cut all contexts that are longer than some length to it."""
    longest = max(problem.key_lens, default=0)
    return _smallest(longest, lambda n: _with_keys(problem, n), look) or problem


def _with_keys(problem: Problem, longest: int) -> Problem:
    for i, (queries, keys) in enumerate(zip(problem.query_lens, problem.key_lens, strict=True)):
        if keys > longest:
            kept = min(queries, longest) if queries == keys or problem.phase == "chunked" else queries
            problem = with_lengths(problem, i, (kept, longest))
    return problem


def _fewer_queries(problem: Problem, look: Look) -> Problem:
    """Cut the queries of all sequences, if they have more than one."""
    longest = max(problem.query_lens, default=0) if problem.phase != "decode" else 0
    return _smallest(longest, lambda n: _with_queries(problem, n), look) or problem


def _with_queries(problem: Problem, longest: int) -> Problem:
    for i, (queries, keys) in enumerate(zip(problem.query_lens, problem.key_lens, strict=True)):
        if queries > longest:
            problem = with_lengths(problem, i, (longest, keys))
    return problem


def _smallest(size: int, make: Callable[[int], Problem], look: Look) -> Problem | None:
    """Return the problem of the smallest size that breaks the law, by halving between 1 and ``size``, which breaks it.
    None where no smaller size was seen to.
    """
    found, holds, breaks = None, 0, size
    tried = 1
    while holds + 1 <= tried < breaks:
        other = make(tried)
        if look(other):
            found, breaks = other, tried
        else:
            holds = tried
        tried = (holds + breaks) // 2
    return found


def _smaller(problem: Problem, look: Look) -> Problem:
    """Choose the first heads, head_dim and block size of tiny problems that break the law."""
    ratio = problem.num_heads // problem.num_kv_heads
    for heads in dict.fromkeys([(1, 1), (ratio, 1), (2 * ratio, 2), *HEADS[2:4]]):
        if heads[0] < problem.num_heads:
            other = replace(problem, num_heads=heads[0], num_kv_heads=heads[1], specials=(), numbers=())
            if look(other):
                problem = other
                break
    for name, options in (("head_dim", HEAD_DIMS[:5:2]), ("block_size", BLOCK_SIZES[:4:3])):
        for option in options:
            other = replace(problem, **{name: option}, numbers=())  # type: ignore[arg-type]
            if option < getattr(problem, name) and look(other):
                problem = other
                break
    return problem


def _narrower(problem: Problem, look: Look) -> Problem:
    """Cut the columns of block tables that no context needs: they have up to some thousand, of which a step of
    `reduce_problem` takes off one.
    """

    def cut(width: int) -> Problem:
        return replace(problem, block_tables=tuple(row[:width] for row in problem.block_tables))

    used = max((-(-keys // problem.block_size) for keys in problem.key_lens), default=0)
    if not 0 < used < problem.table_width:
        return problem
    if look(cut(used)):
        return cut(used)
    return _smallest(problem.table_width - used, lambda n: cut(used + n), look) or problem


def _plainer(problem: Problem, look: Look) -> Problem:
    """Take everything that is unusual away at once, or else one by one."""
    plain: dict[str, Any] = {name: value for name, value in _PLAIN.items() if getattr(problem, name) != value}
    if problem.scoring != PLAIN:
        plain["scoring"] = PLAIN
    for some in (plain, *({name: value} for name, value in plain.items())):
        if some and look(other := replace(problem, **some)):
            problem = other
            if some == plain:
                break
    return problem
