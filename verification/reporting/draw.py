"""Drawings of a problem for a terminal: who sees what, where it lies, and where new tokens go."""

from __future__ import annotations

from itertools import accumulate, islice, pairwise

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verification.oracle.difference import Element
from verification.problem import Problem
from verification.problem.visibility import visible_keys

# What fits on a screen. More is cut, and said to be.
_ROWS, _KEYS, _BLOCKS, _TOKENS = 12, 48, 12, 24


def draw_problem(problem: Problem, wrong: Element | None = None) -> RenderableType:
    """Return a table of sequences and one of the tokens that are stored; ``wrong`` is marked."""
    tables = [_paged(problem, wrong) if problem.reads_cache else _prefill(problem, wrong)]
    if problem.num_blocks and problem.slot_mapping:
        tables.append(_stored(problem))
    return Group(*tables)


def _prefill(problem: Problem, wrong: Element | None) -> Table:
    table = Table("sequence", "queries", "keys", "who sees what (■ seen, · hidden)", show_lines=True)
    for i, (queries, keys) in enumerate(zip(problem.query_lens, problem.key_lens, strict=True)):
        grid = Text()
        for row, seen in islice(enumerate(visible_keys(problem, i)), _ROWS):
            here = wrong is not None and (wrong.sequence, wrong.token) == (i, row)
            squares = "".join("■" if key in seen else "·" for key in range(min(keys, _KEYS)))
            grid.append(f"q{row:<3} {squares}")
            grid.append("..." if keys > _KEYS else "").append(f"  sees {len(seen)} of {keys}", style="dim")
            grid.append("  <- wrong" if here else "", style="bold red").append("\n")
        if queries > _ROWS:
            grid.append(f"... {queries - _ROWS} more queries\n", style="dim")
        grid.rstrip()
        table.add_row(str(i), str(queries), str(keys), grid)
    return table


def _paged(problem: Problem, wrong: Element | None) -> Table:
    size, chunked = problem.block_size, problem.phase == "chunked"
    queries = ["of it new"] if chunked else []
    table = Table("sequence", "context", *queries, "block table", show_lines=True)
    for i, (context, row) in enumerate(zip(problem.key_lens, problem.block_tables, strict=True)):
        needed = -(-context // size)
        lines = Text()
        for place, block in islice(enumerate(row[:needed]), _BLOCKS):
            seen = min(size, context - place * size)
            lines.append(f"[{place}] ").append_text(_block(problem, block, seen)).append("\n")
        if problem.scoring.window:
            lines.append(f"of these a query sees the last {problem.scoring.window}, its own included\n", style="yellow")
        if needed > _BLOCKS:
            lines.append(f"... {needed - _BLOCKS} more blocks\n", style="dim")
        if needed > len(row):
            lines.append(f"the table ends: no token from {len(row) * size} on is seen\n", style="yellow")
        if row[needed:]:
            shown = ", ".join(map(str, row[needed : needed + _BLOCKS]))
            lines.append(f"not needed: {shown}{', ...' if len(row) - needed > _BLOCKS else ''}\n", style="dim")
        lines.rstrip()
        here = wrong is not None and wrong.sequence == i
        token = f" in query {wrong.token}" if wrong and chunked else ""
        mark = Text(str(i)).append(f"  <- wrong{token}" if here else "", style="bold red")
        table.add_row(mark, str(context), *([str(problem.query_lens[i])] if chunked else []), lines)
    return table


def _block(problem: Problem, block: int, seen: int) -> Text:
    size = problem.block_size
    if not 0 <= block < problem.num_blocks:
        return Text(f"block {block}: not in the cache, its tokens are not seen", style="yellow")
    first = block * size
    text = Text(f"block {block}: slots {_range(first, first + seen)} seen")
    if seen < size:
        text.append(f", {_range(first + seen, first + size)} not", style="dim")
    return text


def _stored(problem: Problem) -> Table:
    table = Table("new token", "slot", "", title="slot_mapping", title_justify="left")
    last = {slot: token for token, slot in enumerate(problem.slot_mapping)}
    starts = list(accumulate(problem.query_lens if problem.reads_cache else problem.key_lens, initial=0))
    for token, slot in islice(enumerate(problem.slot_mapping), _TOKENS):
        sequence = next(i for i, (start, end) in enumerate(pairwise(starts)) if start <= token < end)
        if slot == -1:
            note = "not stored"
        elif not 0 <= slot < problem.num_slots:
            note = "not in the cache: dropped"
        else:
            note = f"block {slot // problem.block_size}, offset {slot % problem.block_size}"
            note += f"; token {last[slot]} comes after it" if last[slot] != token else ""
        table.add_row(f"{token - starts[sequence]} of sequence {sequence}", str(slot), note)
    if len(problem.slot_mapping) > _TOKENS:
        table.add_row("...", "", f"{len(problem.slot_mapping) - _TOKENS} more")
    return table


def _range(first: int, end: int) -> str:
    return str(first) if end - first == 1 else f"{first}-{end - 1}"
