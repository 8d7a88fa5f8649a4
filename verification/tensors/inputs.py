"""The numbers of a problem on the host, made by NumPy from the problem's seed: they are the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verification.problem import Numbers, Problem
from verification.problem.formats import FORMATS, Format
from verification.problem.table import CACHES, TENSORS, TOKENS, ByName
from verification.problem.visibility import context_slots, count_behind_window, slots_in_window, visible_counts
from verification.tensors.fill import fill_scores, fill_values
from verification.tensors.fill_masks import make_masks
from verification.tensors.shared import find_shared

Array = NDArray[Any]
# Bytes that, repeated, are zero, a NaN, a large finite number or a large negative one in every format that is stored,
# and in every integer a harmless index (0) or a hostile one (-1, or far out of range on either side).
POISON_BYTE = {"zero": 0x00, "nan": 0xFF, "large": 0x7B, "negative": 0xFB}


@dataclass(frozen=True, kw_only=True)
class Inputs(ByName[Array, Array]):
    """The numbers of a call on the host, caches as they are before it; shapes are those of `table.TENSORS`.

    All but the mask and the sinks are there in every phase. A law that wants other numbers for the same problem
    replaces arrays; what it replaces is what the reference sees.
    """

    problem: Problem

    @cached_property
    def held_slots(self) -> list[Array]:
        """Return for each sequence with queries the slots of its context, in order, those behind a window too; empty
        where no cache is read.
        """
        problem = self.problem
        return [
            context_slots(length if queries else 0, table, problem.block_size, problem.num_blocks)
            for queries, length, table in self._contexts()
        ]

    @cached_property
    def visible_slots(self) -> list[Array]:
        """Return for each sequence the slots that its queries attend to, in order; empty where no cache is read."""
        return [slots_in_window(self.problem, *context) for context in self._contexts()]

    @cached_property
    def seen_slots(self) -> Array:
        """Return the slots that any sequence attends to, ascending."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *self.visible_slots]))

    def _contexts(self) -> Iterator[tuple[int, int, Array]]:
        """Yield the number of queries, the context's length and the block table of each sequence that reads a cache."""
        queries = self.problem.query_lens if self.problem.reads_cache else ()
        return zip(queries, map(int, self.context_lens), self.block_tables, strict=True)


def make_inputs(problem: Problem) -> Inputs:
    """Return the numbers of every tensor of ``problem``; all that nobody may see holds its poison."""
    shared = find_shared(problem)
    return shared.recall("inputs", lambda: _make_inputs(problem)) if shared else _make_inputs(problem)


def _make_inputs(problem: Problem) -> Inputs:
    index = np.dtype(problem.index_dtype)
    fmt, cache_fmt = FORMATS[problem.dtype], FORMATS[problem.cache_format]
    tokens = {name: np.empty(TENSORS[name].shape(problem), fmt.numpy) for name in TOKENS}
    caches = {name: _poisoned(TENSORS[name].shape(problem), cache_fmt, poison_around(problem, name)) for name in CACHES}
    inputs = Inputs(
        problem=problem,
        **tokens,
        **caches,
        cu_seqlens_q=np.cumsum((0, *problem.query_lens)).astype(index),
        cu_seqlens_k=np.cumsum((0, *problem.key_lens)).astype(index),
        slot_mapping=np.array(problem.slot_mapping, index),
        context_lens=np.array(problem.key_lens if problem.reads_cache else (), index),
        block_tables=np.array(problem.block_tables, index).reshape(len(problem.block_tables), problem.table_width),
        **make_masks(problem),
    )
    _write_fills(inputs, fmt, cache_fmt)
    for given in problem.numbers:
        _write_numbers(inputs, given)
    if not problem.reads_cache:
        _poison_unseen_keys(inputs)
    for special in problem.specials:
        rows_of(inputs, special.tensor)[special.row, special.head, special.dim] = float(special.value)
    return inputs


def _write_fills(inputs: Inputs, fmt: Format, cache_fmt: Format) -> None:
    """Write the problem's fills into q, k, v and the slots of the caches that some query sees."""
    problem = inputs.problem
    rng = np.random.default_rng(problem.seed)
    inputs.q[...], inputs.k[...] = fill_scores(problem.score_fill, rng, inputs.q.shape, inputs.k.shape, fmt)
    inputs.v[...] = fill_values(problem.value_fill, rng, inputs.v.shape, fmt)
    if problem.reads_cache and inputs.visible_slots:
        seen = inputs.seen_slots
        shape = (len(seen), *inputs.k.shape[1:])
        _, keys = fill_scores(problem.score_fill, rng, (0, *shape[1:]), shape, cache_fmt)
        rows_of(inputs, "k_cache")[seen] = keys
        rows_of(inputs, "v_cache")[seen] = fill_values(problem.value_fill, rng, shape, cache_fmt)


def _write_numbers(inputs: Inputs, given: Numbers) -> None:
    """Write the numbers that the problem spells out."""
    rows = rows_of(inputs, given.tensor)
    held = inputs.seen_slots if given.tensor in CACHES else slice(None)
    rows[held] = np.array(given.values).reshape(rows[held].shape)


def rows_of(inputs: Inputs, name: str) -> Array:
    """Return a view of a tensor of `NUMBERED` as ``[tokens or slots, heads, D]``."""
    array: Array = getattr(inputs, name)
    return array.reshape(-1, *array.shape[-2:])


def poison_around(problem: Problem, name: str) -> str:
    """Return the kind of poison that lies around a tensor, and in those of its rows that nobody may read."""
    return problem.poison[TENSORS[name].is_value]


def _poison_unseen_keys(inputs: Inputs) -> None:
    """Poison the keys of a prefill that no query sees: with top-left alignment, those behind the last query's own; with
    a window, those that the first query has left behind.
    """
    problem = inputs.problem
    for length_q, length_k, end in zip(problem.query_lens, problem.key_lens, inputs.cu_seqlens_k[1:], strict=True):
        counts = visible_counts(length_q, length_k, problem.causal_alignment)
        start = int(end) - length_k
        behind = slice(start, start + count_behind_window(problem, length_q, length_k))
        ahead = slice(start + int(counts.max(initial=0)), int(end))
        for array, poison in ((inputs.k, problem.poison[0]), (inputs.v, problem.poison[1])):
            for unseen in (behind, ahead):
                array[unseen].view(np.uint8)[...] = POISON_BYTE[poison]


def _poisoned(shape: tuple[int, ...], fmt: Format, poison: str) -> Array:
    return np.full((*shape[:-1], shape[-1] * fmt.numpy.itemsize), POISON_BYTE[poison], np.uint8).view(fmt.numpy)
