"""Edits of a problem that keep its fields consistent with each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, chain

from verification.problem.problem import Problem, Special


def with_lengths(problem: Problem, i: int, lengths: tuple[int, int] | None) -> Problem:
    """Return ``problem`` with other ``lengths`` (queries, keys) of sequence ``i``, or without it where they are None.

    The slots and the special numbers of tokens that are removed are removed too.
    """
    kept = slice(i, i + 1) if lengths else slice(0)
    queries, keys = [[lengths[part]] if lengths else [] for part in (0, 1)]
    rows = problem.block_tables[:i] + problem.block_tables[kept] + problem.block_tables[i + 1 :]
    slots = problem.slot_mapping
    if slots:
        new = problem.query_lens if problem.reads_cache else problem.key_lens
        start, end = sum(new[:i]), sum(new[: i + 1])
        remaining = 0 if lengths is None else lengths[0] if problem.reads_cache else lengths[1]
        # A chunk is the end of its context: where the context stays as long, the first tokens leave the chunk.
        starts_later = problem.phase == "chunked" and lengths is not None and lengths[1] == problem.key_lens[i]
        own = slots[end - remaining : end] if starts_later else slots[start : start + remaining]
        slots = slots[:start] + own + slots[end:]
    tokens = lengths or (0, 0)
    of_queries = _without_rows(problem.query_lens, i, tokens[0])
    of_keys = of_queries if problem.reads_cache else _without_rows(problem.key_lens, i, tokens[1])
    moved = {"q": of_queries, "k": of_keys, "v": of_keys}
    specials = [moved[s.tensor](s) if s.tensor in moved else s for s in problem.specials]
    return replace(
        problem,
        query_lens=(*problem.query_lens[:i], *queries, *problem.query_lens[i + 1 :]),
        key_lens=(*problem.key_lens[:i], *keys, *problem.key_lens[i + 1 :]),
        block_tables=rows,
        slot_mapping=slots,
        specials=tuple(special for special in specials if special is not None),
    )


def _without_rows(lengths: Sequence[int], i: int, remaining: int) -> Callable[[Special], Special | None]:
    """Return what moves a special number to its row once sequence ``i`` keeps only its first ``remaining`` rows."""
    start, end = sum(lengths[:i]), sum(lengths[: i + 1])

    def move(special: Special) -> Special | None:
        if special.row >= end:
            return replace(special, row=special.row - (end - start) + remaining)
        return special if special.row < start + remaining else None

    return move


def turn_round(problem: Problem) -> Problem:
    """Return the problem with its sequences in reverse order, each with its lengths, its table and its slots.

    Numbers that were written down are filled again.
    """
    new = problem.query_lens if problem.reads_cache else problem.key_lens
    slots = [problem.slot_mapping[end - count : end] for count, end in zip(new, accumulate(new), strict=True)]
    return replace(
        problem,
        query_lens=problem.query_lens[::-1],
        key_lens=problem.key_lens[::-1],
        block_tables=problem.block_tables[::-1],
        slot_mapping=tuple(chain.from_iterable(reversed(slots))),
        numbers=(),
        specials=(),
    )


def with_a_new_token(problem: Problem, i: int) -> Problem:
    """Return a chunked prefill in which the last token of context ``i``, whose tokens were all stored before, is new.

    An empty context becomes one token long. The token goes to the slot where the block table finds it, or is not stored
    where that is none of the cache.
    """
    keys, table = max(1, problem.key_lens[i]), problem.block_tables[i]
    column, offset = divmod(keys - 1, problem.block_size)
    block = table[column] if column < len(table) else -1
    slot = block * problem.block_size + offset if 0 <= block < problem.num_blocks else -1
    before = sum(problem.query_lens[:i])
    return replace(
        problem,
        query_lens=(*problem.query_lens[:i], 1, *problem.query_lens[i + 1 :]),
        key_lens=(*problem.key_lens[:i], keys, *problem.key_lens[i + 1 :]),
        slot_mapping=(*problem.slot_mapping[:before], slot, *problem.slot_mapping[before:]),
    )
