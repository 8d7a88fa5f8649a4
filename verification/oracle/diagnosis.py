"""Diagnosis of a wrong number: other questions to which it is the right answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verification.oracle.difference import Element
from verification.oracle.expectation import Sequence, sequences, store
from verification.problem.formats import FORMATS
from verification.problem.visibility import context_slots
from verification.tensors.inputs import Inputs

Array = NDArray[Any]
Rows = tuple[Array, Array]


class _Question(NamedTuple):
    """One query head, ``[D]``, and all that it sees, ``[L, D]``."""

    words: str
    """The mistake that asks this question, to be read after "as if"; empty for the right question."""
    query: Array
    keys: Array
    values: Array
    scale: float
    base: float
    """Base of the powers that make weights of scores: e, unless that is the mistake."""


def explanations(inputs: Inputs, worst: Element) -> tuple[str, ...]:
    """Return the mistakes that would explain an element of the output, each to be read after "as if".

    There are none where no simple mistake gives this number, and where the element is not one of this call's ``"out"``.
    """
    problem = inputs.problem
    elsewhere = worst.sequence >= problem.num_sequences or worst.token >= problem.query_lens[worst.sequence]
    larger = worst.index("head") >= problem.num_heads or worst.index("dim") >= problem.head_dim
    if elsewhere or larger or worst.output != "out":
        return ()
    with np.errstate(all="ignore"):
        (_, right), *others = ((each.words, _answer(each)[worst.index("dim")]) for each in _questions(inputs, worst))
    # Where the plain formula does not give the exact number (under a mask, say), mistakes in it explain nothing.
    if not _nearly_equal(right, worst.exact, 1e-9 * abs(worst.exact)):
        return ()
    room = worst.bound + 4 * FORMATS[problem.dtype].unit * abs(worst.got)
    # A number that hardly differs from the right one explains nothing.
    found = [
        words
        for words, number in others
        if _nearly_equal(number, worst.got, room) and not _nearly_equal(number, right, room)
    ]
    return tuple(dict.fromkeys(found))


def _nearly_equal(number: float, other: float, room: float) -> bool:
    return bool(number == other or abs(number - other) <= room or (np.isnan(number) and np.isnan(other)))


def _other_stores(slots: Array, num_slots: int) -> Iterator[tuple[str, Array]]:
    """Yield slots in which a mistaken store puts the new tokens."""
    yield "padding were stored in slot 0", np.where(slots == -1, 0, slots)
    yield "bad slots were stored in the nearest one", np.clip(slots, 0, num_slots - 1)
    yield "slots wrapped at the cache's ends", slots % num_slots
    yield "negative slots counted from the cache's end", np.where(slots < -1, slots + num_slots, slots)


def _answer(question: _Question) -> Array:
    if not len(question.keys):
        return np.zeros(question.values.shape[-1])
    scores = question.keys @ question.query * question.scale
    weights = np.power(question.base, scores - scores.max())
    answer: Array = (weights / weights.sum()) @ question.values
    return answer


def _questions(inputs: Inputs, worst: Element) -> Iterator[_Question]:
    """Yield the right question first, then those that are asked instead by mistakes that have shipped."""
    problem, stored = inputs.problem, store(inputs)
    cut = sequences(stored)
    mine = cut[worst.sequence]
    head = worst.index("head") // (problem.num_heads // problem.num_kv_heads)
    query, count = mine.q[worst.token, worst.index("head")].astype(np.float64), int(mine.counts[worst.token])
    seen = mine.keys[:count], mine.values[:count]

    def ask(words: str, rows: Rows, head: int = head, scale: float = problem.scale, base: float = np.e) -> _Question:
        keys, values = (x[:, head].astype(np.float64) for x in rows)
        return _Question(words, query, keys, values, scale, base)

    yield ask("", seen)
    counts = _other_counts(mine, worst) if problem.phase != "decode" else ()
    for words, rows in (*counts, *(_other_slots(inputs, stored, worst) if problem.reads_cache else ())):
        yield ask(words, rows)
    yield ask("it saw nothing", (mine.keys[:0], mine.values[:0]))
    for i, other in enumerate(cut):
        if i != worst.sequence and len(other.keys):
            yield ask(f"it read sequence {i}", (other.keys, other.values))
    for other_head in range(problem.num_kv_heads):
        if other_head != head:
            tiled = ", which is h % G" if other_head == worst.index("head") % problem.num_kv_heads else ""
            yield ask(f"it read kv head {other_head}, not {head}{tiled}", seen, head=other_head)
    yield ask("the scale were left out", seen, scale=1.0)
    yield ask("the scale were applied twice", seen, scale=problem.scale**2)
    yield ask("weights were powers of 2, not of e", seen, base=2.0)
    yield ask("all weights were equal", seen, scale=0.0)


def _other_counts(mine: Sequence, worst: Element) -> Iterator[tuple[str, Rows]]:
    """Yield more keys, or fewer. Where two mistakes see equally many keys, the first of them is the simplest."""
    count, keys = int(mine.counts[worst.token]), len(mine.keys)
    words = {0: "", count: ""}
    for other, said in (
        (count + 1, "it saw its next key too"),
        (count - 1, "it missed its last key"),
        (worst.token + 1, "the mask were aligned top-left"),
        (worst.token + 1 + keys - len(mine.q), "the mask were aligned bottom-right"),
        (keys, "it saw all keys"),
    ):
        words.setdefault(other, said)
    for other, said in words.items():
        if said and 0 < other <= keys:
            yield said, (mine.keys[:other], mine.values[:other])


def _other_slots(inputs: Inputs, stored: Inputs, worst: Element) -> Iterator[tuple[str, Rows]]:
    """Yield rows from other places in the cache, or what the right places held before the store."""
    problem, sequence = inputs.problem, worst.sequence
    table = stored.block_tables[sequence].astype(np.int64)
    context = problem.key_lens[sequence] - problem.query_lens[sequence] + worst.token + 1
    size, blocks = problem.block_size, problem.num_blocks
    good = (table >= 0) & (table < blocks)

    def rows(table: Array, length: int, held: Inputs = stored) -> Rows:
        slots = context_slots(length, table, size, blocks)
        keys, values = (x.reshape(-1, *x.shape[2:])[slots] for x in (held.k_cache, held.v_cache))
        return keys, values

    yield "the new tokens were not stored", rows(table, context, inputs)
    for words, slots in _other_stores(inputs.slot_mapping.astype(np.int64), problem.num_slots):
        moved = replace(inputs, slot_mapping=np.clip(slots, -1, problem.num_slots))
        yield words, rows(table, context, store(moved))
    yield "bad blocks were left out and later ones moved up", rows(table[good], context)
    yield "negative blocks counted from the cache's end", rows(np.where(table < 0, table + blocks, table), context)
    yield "a bad block were block 0", rows(np.where(good, table, 0), context)
    yield "it saw the rest of the last block", rows(table, -(-context // size) * size)
    yield "it saw one block more", rows(table, context + size)
    if context > 1 and problem.phase == "decode":  # `_other_counts` asks it of a chunk
        yield "it missed its last token", rows(table, context - 1)
