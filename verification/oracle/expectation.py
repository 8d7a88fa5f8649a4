"""The right answer to a problem: outputs and their bounds, the memory after the call, and the events."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verification.oracle.by_heads import attend_by_heads, join_rows, split_heads
from verification.oracle.precision import Precision, Roundings
from verification.oracle.predicted_events import Prediction, predict_dropped, predict_range
from verification.oracle.reference import Attended
from verification.oracle.rows import Rows, make_rows
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.large import size_of
from verification.problem.table import CACHES, OUTPUTS, TENSORS
from verification.problem.visibility import context_slots, count_behind_window, counts_in_context, visible_counts
from verification.tensors.arena import Bytes
from verification.tensors.inputs import Inputs
from verification.tensors.materialize import Arena

Array = NDArray[Any]
# Least numbers, ``H * Lk * max(Lq, D)``, of sequences that torch is asked on a device: for fewer its hundred calls take
# longer than NumPy.
LEAST_ON_DEVICE = 2**18
# One large problem in so many is NumPy's wherever the backend is, and so is the one that a failure is reduced to, whose
# seed is 0.
_SAMPLE = 16


@dataclass(frozen=True)
class Sequence:
    """One sequence of a call after the store."""

    rows: slice
    """Its rows of the output."""
    q: Array
    """``[Lq, H, D]``."""
    keys: Array
    """``[Lk, G, D]``: the keys that may be seen, in logical order."""
    values: Array
    """``[Lk, G, D]``, in the order of ``keys``."""
    counts: NDArray[np.int64]
    """``[Lq]``: how many of the first keys each query sees."""


class Expected(NamedTuple):
    """An exact output and its bound, in float64; both arrays have the output's shape."""

    exact: Array
    bound: Array
    """By how much each element may be off: 0 where a NaN or Inf is demanded, inf where nothing is."""


@dataclass(frozen=True)
class Expectation:
    """A right answer, and how far another may be from it."""

    outputs: dict[str, Expected]
    """Outputs by their names in `table.OUTPUTS`."""
    predictions: tuple[Prediction, ...]
    """Events that the call owes or may log."""
    sequences: tuple[tuple[Sequence, Attended], ...]
    """Sequences of the call, each with its exact answer."""
    roundings: Roundings

    @property
    def exact(self) -> Array:
        """Return the exact output named ``"out"``, ``[T, H, D]``."""
        return self.outputs["out"].exact

    @property
    def bound(self) -> Array:
        """Return the bound of `exact`."""
        return self.outputs["out"].bound

    @property
    def query_lens(self) -> tuple[int, ...]:
        return tuple(len(sequence.q) for sequence, _ in self.sequences)

    @cached_property
    def before_rounding(self) -> Array:
        """Return the part of ``bound`` that precedes the last rounding, to the output's format."""
        output = self.roundings.output
        rounding = output.unit * np.abs(self.exact) + output.smallest_subnormal / 2
        room: Array = np.maximum(self.bound - np.where(np.isfinite(rounding), rounding, 0.0), 0.0)
        return room


def choose_device(problem: Problem, device: str) -> str | None:
    """Return where the reference of a problem runs whose backend is on ``device``: there, or None for NumPy.

    NumPy is asked for tiny problems, for a sample of the others, and for those in float64, where torch may sum as a
    backend of torch does.
    """
    in_numpy = device == "cpu" or problem.dtype == "float64" or size_of(problem) == "tiny"
    return None if in_numpy or not problem.seed % _SAMPLE else device


def expect(inputs: Inputs, precision: Precision, device: str | None = None, blind: str = "zeros") -> Expectation:
    """Return the reference's answer, by NumPy; large sequences by torch in float64 on ``device``, where one is given.

    For ``blind`` see `Contract`.
    """
    problem, roundings = inputs.problem, precision.resolve(inputs.problem.dtype)
    stored = store(inputs)
    outputs: dict[str, Expected] = {}
    predictions, attended = [], []
    with np.errstate(all="ignore"):
        if problem.num_blocks:
            predictions += predict_dropped("slot_mapping", _count_dropped_slots(inputs))
        if problem.phase == "decode":
            predictions += predict_range("decode_q", inputs.q)
        cut = sequences(stored)
        rows = [make_rows(inputs, i, sequence.counts, len(sequence.keys)) for i, sequence in enumerate(cut)]
        answers = _attend_alike(device, problem, cut, rows, roundings)
        for i, (sequence, result) in enumerate(zip(cut, answers, strict=True)):
            if blind != "zeros":
                result = _with_blind(blind, result, device, problem, sequence, roundings)
            attended.append((sequence, result))
            for name, parts in result.outputs.items():
                if name not in outputs:
                    outputs[name] = _zeros(name, problem)
                for array, part in zip(outputs[name], parts, strict=True):
                    array[sequence.rows] = part.swapaxes(0, 1)
            predictions += _sequence_events(i, stored, sequence, result)
        if not attended:
            outputs["out"] = _zeros("out", problem)
        predictions += predict_range("attention_output", *outputs["out"], FORMATS[problem.dtype])
    return Expectation(outputs, tuple(predictions), tuple(attended), roundings)


def _zeros(name: str, problem: Problem) -> Expected:
    shape = OUTPUTS[name].shape(problem)
    return Expected(np.zeros(shape), np.zeros(shape))


def store(inputs: Inputs) -> Inputs:
    """Return the inputs with caches as they are after the call. NumPy's assignment keeps the last of equal slots."""
    slots = inputs.slot_mapping.astype(np.int64)
    writes = (slots >= 0) & (slots < inputs.problem.num_slots)
    if not writes.any():
        return inputs
    caches = {}
    for name in CACHES:
        cache, new = getattr(inputs, name).copy(), getattr(inputs, TENSORS[name].stored_from)
        with np.errstate(over="ignore", invalid="ignore"):
            cache.reshape(-1, *cache.shape[2:])[slots[writes]] = new[writes].astype(cache.dtype)
        caches[name] = cache
    return replace(inputs, **caches)


def expected_memory(arena: Arena, stored: Inputs) -> Bytes:
    """Return the arena's bytes after a right call: as before, except for the slots that the call writes."""
    after = arena.before.copy()
    for name in arena.spans.keys() & set(CACHES):
        arena.spans[name].on_host(after)[...] = getattr(stored, name)
    return after


def _count_dropped_slots(inputs: Inputs) -> int:
    slots = inputs.slot_mapping.astype(np.int64)
    return int(np.sum((slots != -1) & ((slots < 0) | (slots >= inputs.problem.num_slots))))


def sequences(stored: Inputs) -> list[Sequence]:
    """Return the sequences of a call, as they are after the store."""
    problem = stored.problem
    if problem.reads_cache:
        starts = accumulate(problem.query_lens, initial=0)
        return [_from_cache(stored, i, slice(*ends)) for i, ends in enumerate(pairwise(starts))]
    cut = []
    starts_of = (pairwise(starts.tolist()) for starts in (stored.cu_seqlens_q, stored.cu_seqlens_k))
    for rows, keys in ((slice(*ends), slice(*others)) for ends, others in zip(*starts_of, strict=True)):
        counts = visible_counts(rows.stop - rows.start, keys.stop - keys.start, problem.causal_alignment)
        cut.append(Sequence(rows, stored.q[rows], stored.k[keys], stored.v[keys], counts))
    return cut


def _from_cache(stored: Inputs, i: int, rows: slice) -> Sequence:
    """Return sequence ``i``, whose keys its block table finds in the cache."""
    problem, slots = stored.problem, stored.held_slots[i]
    keys, values = (cache.reshape(-1, *cache.shape[2:])[slots] for cache in (stored.k_cache, stored.v_cache))
    context, sizes = int(stored.context_lens[i]), (problem.block_size, problem.num_blocks)
    counts = counts_in_context(rows.stop - rows.start, context, stored.block_tables[i], *sizes)
    return Sequence(rows, stored.q[rows], keys, values, counts)


def _attend_alike(
    device: str | None, problem: Problem, cut: list[Sequence], rows: list[Rows | None], roundings: Roundings
) -> list[Attended]:
    """Return the exact answer to each sequence. Those that differ in numbers alone are asked at once, as further heads
    of one: in a large batch most of the time would go to the calls of small arrays.
    """
    alike: dict[tuple[int, bytes], list[int]] = {}
    for i, sequence in enumerate(cut):
        alike.setdefault((len(sequence.keys), sequence.counts.tobytes()), []).append(i)
    found: dict[int, Attended] = {}
    for several in alike.values():
        asked = [cut[i] for i in several]
        q, k, v = (np.concatenate(x, axis=1) for x in zip(*((x.q, x.keys, x.values) for x in asked), strict=True))
        own = [x for i in several if (x := rows[i]) is not None]
        counts, shared = asked[0].counts, join_rows(own) if own else None
        work = problem.num_heads * len(several) * len(asked[0].keys) * max(len(counts), problem.head_dim)
        where = device if work >= LEAST_ON_DEVICE else None
        answer = attend_by_heads(where, q, k, v, counts, problem.scale, roundings, shared)
        found |= zip(several, split_heads(answer, len(several)), strict=True)
    return [found[i] for i in range(len(cut))]


def _attend_on(device: str | None, problem: Problem, sequence: Sequence, roundings: Roundings) -> Attended:
    """Return the exact answer to one sequence without scoring."""
    return _attend_alike(device, problem, [sequence], [None], roundings)[0]


def _with_blind(
    blind: str, result: Attended, device: str | None, problem: Problem, sequence: Sequence, roundings: Roundings
) -> Attended:
    """Return ``result`` with rows that see no key as ``blind`` says. The mean of no values may be anything."""
    out, bound = np.nan, 0.0 if blind == "nan" else np.inf
    if blind == "mean" and len(sequence.keys):
        counts = np.full_like(sequence.counts, len(sequence.keys))
        equal = replace(sequence, q=np.zeros_like(sequence.q), keys=np.zeros_like(sequence.keys), counts=counts)
        mean = _attend_on(device, problem, equal, roundings)
        out, bound = mean.out, mean.bound
    sees = (result.weights != 0).any(axis=-1, keepdims=True)
    seen = np.where(sees, result.out, out), np.where(sees, result.bound, bound)
    return replace(result, outputs=result.outputs | {"out": seen})


def _sequence_events(i: int, stored: Inputs, sequence: Sequence, result: Attended) -> list[Prediction]:
    if stored.problem.phase == "prefill":
        return [
            *predict_range(f"prefill_q_seq_{i}", sequence.q),
            *predict_range(f"prefill_k_seq_{i}", sequence.keys),
            *predict_range(f"prefill_attn_{i}", result.scores, result.scores_bound),
        ]
    problem, context = stored.problem, int(stored.context_lens[i])
    behind = count_behind_window(problem, len(sequence.q), context)
    hidden = len(context_slots(behind, stored.block_tables[i], problem.block_size, problem.num_blocks))
    keys = sequence.keys[hidden:]
    missing = context - behind - len(keys)
    return [*predict_dropped(f"block_tables[{i}]", missing), *predict_range(f"decode_k_history_{i}", keys)]
