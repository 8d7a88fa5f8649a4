"""Edits of a problem that keep its fields consistent with each other."""

from __future__ import annotations

from dataclasses import replace

from verification.problem.problem import Problem


def with_lengths(problem: Problem, i: int, lengths: tuple[int, int] | None) -> Problem:
    """Return ``problem`` with other ``lengths`` (queries, keys) of sequence ``i``, or without it where they are None.

    The slots of tokens that are removed are removed too.
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
    return replace(
        problem,
        query_lens=(*problem.query_lens[:i], *queries, *problem.query_lens[i + 1 :]),
        key_lens=(*problem.key_lens[:i], *keys, *problem.key_lens[i + 1 :]),
        block_tables=rows,
        slot_mapping=slots,
    )
