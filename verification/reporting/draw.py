"""Drawings of a problem for a terminal: who sees what, where it lies, where new tokens go, and the numbers of a small
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, islice, pairwise

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from verification.oracle.difference import Element
from verification.problem import Problem
from verification.problem.visibility import count_behind_window
from verification.reporting.sight import describe_marks, head_drawn, list_sights
from verification.reporting.tables import folding
from verification.reporting.values import list_values

# What fits on a screen. More is cut, and said to be.
_ROWS, _KEYS, _BLOCKS, _TOKENS = 12, 48, 12, 24
# Columns beside the marks of a row: lengths, lines, the query's number, what is said of it; the fewest marks; and the
# width from which on lengths have columns of their own.
_BESIDE, _FEWEST, _WIDE = 52, 6, 96


@dataclass(frozen=True)
class _Drawing:
    problem: Problem
    wrong: Element | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        problem, width = self.problem, options.max_width
        yield _paged(problem, self.wrong) if problem.reads_cache else _prefill(problem, self.wrong, width)
        if problem.num_blocks and problem.slot_mapping:
            yield _stored(problem)
        yield from map(Text, list_values(problem))


def draw_problem(problem: Problem, wrong: Element | None = None) -> _Drawing:
    """Return a table of sequences, one of the tokens that are stored, and numbers; ``wrong`` is marked."""
    return _Drawing(problem, wrong)


def _prefill(problem: Problem, wrong: Element | None, width: int) -> Table:
    head, lengths = head_drawn(problem, wrong), ["queries", "keys"] if width >= _WIDE else []
    most_keys = max(_FEWEST, min(_KEYS, width - _BESIDE - 8 * len(lengths)))
    table = folding("sequence", *lengths, f"who sees what ({describe_marks(problem, head)})", show_lines=True)
    for i, (queries, keys) in enumerate(zip(problem.query_lens, problem.key_lens, strict=True)):
        grid, rows = Text(), range(min(queries, _ROWS))
        for row, sight in enumerate(list_sights(problem, i, head, rows, range(min(keys, most_keys)))):
            here = wrong is not None and (wrong.sequence, wrong.token) == (i, row)
            grid.append(f"q{row:<3} {sight.marks}")
            grid.append("..." if keys > most_keys else "").append(f"  sees {sight.num_seen} of {keys}", style="dim")
            grid.append("  <- wrong" if here else "", style="bold red").append("\n")
        if queries > _ROWS:
            grid.append(f"... {queries - _ROWS} more queries\n", style="dim")
        grid.rstrip()
        counted = f"{queries} {'query' if queries == 1 else 'queries'}", f"{keys} {'key' if keys == 1 else 'keys'}"
        said = (str(i), str(queries), str(keys)) if lengths else ("\n".join((str(i), *counted)),)
        table.add_row(*said, grid)
    return table


def _paged(problem: Problem, wrong: Element | None) -> Table:
    size, chunked = problem.block_size, problem.phase == "chunked"
    queries = ["of it new"] if chunked else []
    table = folding("sequence", "context", *queries, "block table", show_lines=True)
    for i, (context, row) in enumerate(zip(problem.key_lens, problem.block_tables, strict=True)):
        needed, first = -(-context // size), count_behind_window(problem, problem.query_lens[i], context)
        lines = Text()
        for place, block in islice(enumerate(row[:needed]), _BLOCKS):
            seen = min(size, context - place * size)
            hidden = min(seen, max(0, first - place * size))
            lines.append(f"[{place}] ").append_text(_block(problem, block, hidden, seen)).append("\n")
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


def _block(problem: Problem, block: int, hidden: int, seen: int) -> Text:
    """Return a line of the slots of a block: the first ``hidden`` lie behind the window, those up to ``seen`` in it."""
    size = problem.block_size
    if not 0 <= block < problem.num_blocks:
        return Text(f"block {block}: not in the cache, its tokens are not seen", style="yellow")
    first = block * size
    text = Text(f"block {block}: slots ")
    if hidden:
        text.append(f"{_range(first, first + hidden)} behind the window", style="dim")
    if hidden < seen:
        text.append(f"{', ' if hidden else ''}{_range(first + hidden, first + seen)} seen")
    if seen < size:
        text.append(f", {_range(first + seen, first + size)} not", style="dim")
    return text


def _stored(problem: Problem) -> Table:
    table = folding("new token", "slot", "", title="slot_mapping")
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
