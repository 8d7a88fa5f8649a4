"""Pictures of a problem: who sees which key, which blocks are read, where new tokens go. Plain data for the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from verification.oracle.difference import Element
from verification.problem import Problem
from verification.problem.table import CACHES
from verification.problem.visibility import count_behind_window, visible_keys
from verification.reporting.sight import MASKED, SEEN, Sight, describe_marks, head_drawn, list_sights
from verification.reporting.values import list_values

_SEQUENCES, _ROWS, _COLUMNS, _BLOCKS, _SLOTS = 6, 16, 24, 12, 16


@dataclass(frozen=True)
class Key:
    """Column of a `Grid`: ``slot`` is where the key is stored, "" without a cache; ``planted`` the NaN or Inf in it."""

    index: int
    slot: str
    dropped: bool
    planted: str


@dataclass(frozen=True)
class Query:
    """Row of a `Grid`."""

    index: int
    wrong: bool
    planted: str
    sees: list[bool]
    masked: list[bool]
    """True for each key that the mask alone hides."""


@dataclass(frozen=True)
class Grid:
    """Sequence of a prefill: its queries and the keys that each sees."""

    title: str
    keys: list[Key]
    queries: list[Query]
    cut: str


@dataclass(frozen=True)
class Slot:
    """Slot of a `Block`: ``kind`` is seen, behind (the window) or tail; ``new`` says that this call stores a token."""

    text: str
    kind: str
    new: bool
    planted: str


@dataclass(frozen=True)
class Block:
    """Block of a `Context`: ``kind`` is read, invalid, or unused where no position of the context lies in it."""

    id: int
    kind: str
    slots: list[Slot]
    cut: str


@dataclass(frozen=True)
class Context:
    """Sequence whose keys are in the cache: its row of the block table, and where its new tokens go."""

    title: str
    wrong: bool
    blocks: list[Block]
    stored: str
    cut: str


@dataclass(frozen=True)
class Picture:
    """Picture of a whole problem; ``cut`` says what is not shown, "" where all is."""

    grids: list[Grid]
    contexts: list[Context]
    marks: str
    numbers: list[str]
    cut: str


def picture(problem: Problem, worst: Element | None) -> Picture:
    """Return each sequence, with the wrong one marked; of many or long ones what is around the wrong element."""
    shown = _window(problem.num_sequences, _SEQUENCES, worst.sequence if worst else 0)
    paged = problem.reads_cache
    return Picture(
        grids=[] if paged else [_grid(problem, i, worst) for i in shown],
        contexts=[_context(problem, i, worst) for i in shown] if paged else [],
        marks="" if paged else describe_marks(problem, head_drawn(problem, worst)),
        numbers=list_values(problem),
        cut=_cut("sequences", shown, problem.num_sequences),
    )


def _grid(problem: Problem, sequence: int, worst: Element | None) -> Grid:
    num_queries, num_keys = problem.query_lens[sequence], problem.key_lens[sequence]
    seen = visible_keys(problem, sequence)
    wrong = worst.token if worst and worst.sequence == sequence else None
    rows = _window(num_queries, _ROWS, wrong or 0)
    edge = seen[wrong or 0].stop if num_queries else 0  # the last key that the row that matters sees
    columns = _window(num_keys, _COLUMNS, edge)
    first_query, first_key = sum(problem.query_lens[:sequence]), sum(problem.key_lens[:sequence])
    of_keys = _planted(problem, ("k", "v"))
    of_queries = _planted(problem, ("q",))
    sights = list_sights(problem, sequence, head_drawn(problem, worst), rows, columns)
    keys = []
    for key in columns:
        slot = problem.slot_mapping[first_key + key] if problem.num_blocks else None
        dropped = slot is not None and not 0 <= slot < problem.num_slots
        keys.append(Key(key, "" if slot is None else str(slot), dropped, of_keys.get(first_key + key, "")))
    return Grid(
        f"sequence {sequence}: {num_queries:,} {'query' if num_queries == 1 else 'queries'}, "
        f"{num_keys:,} {'key' if num_keys == 1 else 'keys'}",
        keys,
        [_query(a, a == wrong, of_queries.get(first_query + a, ""), s) for a, s in zip(rows, sights, strict=True)],
        "; ".join(filter(None, (_cut("queries", rows, num_queries), _cut("keys", columns, num_keys)))),
    )


def _query(index: int, wrong: bool, planted: str, sight: Sight) -> Query:
    marks = sight.marks
    return Query(index, wrong, planted, [mark == SEEN for mark in marks], [mark == MASKED for mark in marks])


def _context(problem: Problem, sequence: int, worst: Element | None) -> Context:
    length, size = problem.key_lens[sequence], problem.block_size
    table, queries = problem.block_tables[sequence], problem.query_lens[sequence]
    first = sum(problem.query_lens[:sequence])
    needed = -(-length // size)
    shown = _window(len(table), _BLOCKS, max(0, needed - 1))
    new = problem.slot_mapping[first : first + queries][:_SLOTS]
    last = f", {queries:,} of it new" if problem.phase == "chunked" else ""
    seen = f"; a query sees the last {problem.scoring.window}" if problem.scoring.window else ""
    hidden = count_behind_window(problem, problem.query_lens[sequence], problem.key_lens[sequence])
    short = f"; the table ends {needed - len(table)} blocks too early" if needed > len(table) else ""
    return Context(
        f"sequence {sequence}: context {length:,}{last}{short}{seen}",
        worst is not None and worst.sequence == sequence,
        [_block(problem, table[i], hidden - i * size, length - i * size) for i in shown],
        "; ".join(_place(problem, slot) for slot in new) + ("; ..." if queries > _SLOTS else ""),
        _cut("blocks", shown, len(table)),
    )


def _place(problem: Problem, slot: int) -> str:
    if 0 <= slot < problem.num_slots:
        return f"slot {slot}, which is block {slot // problem.block_size} at {slot % problem.block_size}"
    return f"nowhere: slot {slot} is outside the cache"


def _block(problem: Problem, block: int, hidden: int, left: int) -> Block:
    """Return a block; ``left`` positions of the context lie in it and those behind it, the first ``hidden`` of them out
    of the window.
    """
    valid, size = 0 <= block < problem.num_blocks, problem.block_size
    if not valid or left <= 0:
        return Block(block, "unused" if left <= 0 else "invalid", [], "")
    offsets = _window(size, _SLOTS, min(left, size))
    written = set(problem.slot_mapping)
    planted = _planted(problem, CACHES) | {
        problem.slot_mapping[token]: text for token, text in _planted(problem, ("k", "v")).items()
    }
    slots = [block * size + offset for offset in offsets]
    return Block(
        block,
        "read",
        [
            Slot(str(slot), _kind(offset, hidden, left), slot in written, planted.get(slot, ""))
            for offset, slot in zip(offsets, slots, strict=True)
        ],
        _cut("slots", offsets, size),
    )


def _kind(offset: int, hidden: int, left: int) -> str:
    return "behind" if offset < min(hidden, left) else "seen" if offset < left else "tail"


def _planted(problem: Problem, tensors: Iterable[str]) -> dict[int, str]:
    """Return the NaN and Inf put into these tensors, by row."""
    found: dict[int, str] = {}
    for special in problem.specials:
        if special.tensor in tensors:
            text = f"{special.tensor} = {special.value}"
            found[special.row] = f"{found[special.row]}, {text}" if special.row in found else text
    return found


def _window(length: int, most: int, center: int) -> range:
    start = max(0, min(center - most // 2, length - most))
    return range(start, min(length, start + most))


def _cut(noun: str, shown: range, length: int) -> str:
    if len(shown) == length:
        return ""
    return f"{noun} {shown.start:,} to {shown.stop - 1:,} of {length:,} shown"
