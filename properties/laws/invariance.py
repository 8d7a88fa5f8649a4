"""Laws of the form "what should not matter does not": two calls, the same bits where the contract claims it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np

from properties.laws.law import Asked, Need, OutsideLaw, law
from properties.laws.needs import A_CACHE
from properties.laws.pairs import judge_pair, rows_of
from verification.backends.expected import expected_from
from verification.backends.observe import observe, observe_call
from verification.backends.protocol import Backend, share_state
from verification.oracle.expectation import expected_memory, sequences, store
from verification.oracle.judge import Verdict, judge_memory, judge_outputs, judge_same_bits, successful_outputs
from verification.problem import Problem
from verification.problem.edit import turn_round
from verification.problem.problem import CacheLayout, Layout
from verification.problem.table import CACHES, TOKENS
from verification.problem.visibility import count_behind_window, has_blind_rows
from verification.tensors.inputs import POISON_BYTE, Inputs, make_inputs
from verification.tensors.materialize import materialize

# What a contract leaves undefined that does not take hidden NaN or large numbers.
_HIDDEN_POISON = {"special: not seen", *(f"poison around {x}: {kind}" for x in "kv" for kind in ("nan", "large"))}
_LAYOUTS = {f"layout: {name}" for name in get_args(Layout)} - {"layout: contiguous"}
_CACHE_LAYOUTS = {f"cache layout: {name}" for name in get_args(CacheLayout)} - {"cache layout: contiguous"}


def _has_layouts(backend: Backend, _: str) -> bool:
    """Return whether tensors or caches may lie otherwise than contiguously."""
    contract = backend.contract
    caches = set() if contract.dense_batches or contract.compiled_sizes else _CACHE_LAYOUTS
    return not (_LAYOUTS | caches) <= contract.undefined


HIDDEN_KEYS = Need(
    "NaN in hidden keys (nonfinite), or a paged cache",
    lambda backend, _: backend.contract.nonfinite or not backend.contract.dense_batches,
)
LAYOUTS = Need("more layouts than the contiguous one", _has_layouts)
INDEX_DTYPES = Need(
    "indices: int32 and int64", lambda backend, _: not backend.contract.undefined & {"indices: int32", "indices: int64"}
)


@law(to_the_bit=True, needs=(HIDDEN_KEYS,))
def poison_is_invisible(backend: Asked, problem: Problem) -> Verdict:
    """out(memory, tables) = out(memory', tables') when they differ only where nobody sees: free and tail slots, unseen
    keys, guards, table entries past ceil(context/S) or wholly behind a window. K and V are poisoned apart.
    """
    _without_means(backend, problem)
    poison = problem.poison if problem.poison != ("zero", "zero") else ("nan", "nan")
    clean = make_inputs(replace(problem, poison=("zero", "zero")))
    return judge_pair(
        backend, _with_tame_tails(clean), problem if poison == problem.poison else replace(problem, poison=poison)
    )


@law(to_the_bit=True, needs=(A_CACHE,))
def block_ids_do_not_matter(backend: Asked, problem: Problem) -> Verdict:
    """out(pi(cache), pi(tables), pi(slots)) = out(cache, tables, slots) for a permutation pi of the blocks."""
    if problem.num_blocks < 2:
        raise OutsideLaw("there is no other block to change places with")
    inputs = make_inputs(problem)
    return judge_pair(backend, inputs, _permuted(inputs))


@law(to_the_bit=True)
def batch_does_not_matter(backend: Asked, problem: Problem) -> Verdict:
    """out_i(batch) = out_i(sequence i alone)."""
    if problem.num_sequences < 2:
        raise OutsideLaw("one sequence has no other to depend on")
    inputs = make_inputs(problem)
    i = problem.seed % problem.num_sequences
    return judge_pair(backend, inputs, _alone(inputs, i), rows_of(problem, i))


@law(to_the_bit=True, phases=("prefill", "chunked"))
def the_future_does_not_matter(backend: Asked, problem: Problem) -> Verdict:
    """q_c for c > a, and k_b, v_b for b that a does not see, change => no out_c, c <= a, nor another sequence does."""
    _without_means(backend, problem)
    inputs = make_inputs(problem)
    i, row, first_hidden = _some_row_with_a_future(inputs)
    rows = rows_of(problem, i)
    keys = _hidden_keys(inputs, i, row, first_hidden)
    changed = {name: getattr(inputs, name).copy() for name in TOKENS}
    # One kind of future for each: a NaN finds what multiplies by zero, a large number what is added and taken away.
    futures = np.array(["nan", "large", "negative"])[np.arange(3) + problem.seed % 3 - 2]
    for (name, array), future in zip(changed.items(), futures, strict=True):
        hidden = slice(rows.start + row + 1, rows.stop) if name == "q" else keys
        if backend.contract.nonfinite and not backend.contract.undefined & _HIDDEN_POISON:
            array[hidden].view(np.uint8)[...] = POISON_BYTE[str(future)]
        else:  # nor may a score overflow: an additive mask makes Inf - Inf of it
            array[hidden] = 7
    kept = np.delete(np.arange(problem.num_queries), np.s_[rows.start + row + 1 : rows.stop])
    after = replace(inputs, **changed)
    return judge_pair(backend, inputs, after, kept, kept)


@law(to_the_bit=True, needs=(LAYOUTS,))
def strides_do_not_matter(backend: Asked, problem: Problem) -> Verdict:
    """out(x) = out(x') when x and x' hold equal numbers at other strides."""
    if (problem.layout, problem.cache_layout) == ("contiguous", "contiguous"):
        raise OutsideLaw("the tensors are contiguous already")
    inputs = make_inputs(problem)
    contiguous = replace(problem, layout="contiguous", cache_layout="contiguous")
    return judge_pair(backend, replace(inputs, problem=contiguous), inputs)


@law(to_the_bit=True, needs=(INDEX_DTYPES,))
def index_dtype_does_not_matter(backend: Asked, problem: Problem) -> Verdict:
    """out(int32 indices) = out(int64 indices)."""
    inputs, other = make_inputs(problem), "int32" if problem.index_dtype == "int64" else "int64"
    limits = np.iinfo(np.int32)  # a slot or an id beyond them is as far outside of the cache as the limit is
    converted = {
        name: np.clip(getattr(inputs, name), limits.min, limits.max).astype(other)
        for name in ("cu_seqlens_q", "cu_seqlens_k", "slot_mapping", "context_lens", "block_tables")
    }
    return judge_pair(backend, inputs, _with_paging(inputs, **converted))


@law(to_the_bit=True, afresh=True)
def same_call_same_bits(backend: Asked, problem: Problem) -> Verdict:
    """f(x) = f(x) for a fresh f, for one that has just answered x', the same sequences in reverse order, and x with
    other numbers, and once more; and the cache after it is as after one call.
    """
    inputs, turned = make_inputs(problem), make_inputs(turn_round(problem))
    others = make_inputs(replace(problem, seed=problem.seed ^ 1, numbers=(), specials=()))
    used_before = share_state(backend)  # each problem is prepared for itself, on a state that they share
    successful_outputs(observe(used_before, turned))
    call, arena = used_before.prepare(problem), materialize(inputs, backend.device)
    successful_outputs(observe_call(call, materialize(others, backend.device)))
    used, again = observe_call(call, arena), observe_call(call, arena)
    fresh, expectation = successful_outputs(observe(backend, inputs)), expected_from(backend, inputs)
    verdict = judge_outputs(fresh, expectation)
    for observation, what in ((used, "after other calls"), (again, "the same call again")):
        outputs = successful_outputs(observation)
        judge_outputs(outputs, expectation)  # a backend that keeps something wrong may be as wrong when it is fresh
        for name in outputs if backend.to_the_bit else ():
            judge_same_bits(outputs[name], fresh[name], what, problem.query_lens, name)
    judge_memory(again.memory, expected_memory(arena, store(inputs)), arena.spans, CACHES)
    return Verdict() if backend.to_the_bit else verdict


def _without_means(backend: Asked, problem: Problem) -> None:
    """Raise OutsideLaw where a row sees nothing and gives the mean of all values: it depends on what nobody sees."""
    if backend.contract.blind == "mean" and has_blind_rows(problem):
        raise OutsideLaw("a row that sees nothing gives the mean of all values, hidden ones too")


def _with_tame_tails(inputs: Inputs) -> Inputs:
    """Return the inputs with a good block id wherever a table is not read; one that the sequence does not read either,
    if there is one.
    """
    problem, tables = inputs.problem, inputs.block_tables.copy()
    for row, queries, context_len in zip(tables, problem.query_lens, inputs.context_lens, strict=False):
        first = count_behind_window(problem, queries, int(context_len)) // problem.block_size
        end = -(-int(context_len) // problem.block_size)
        read = set(row[first:end].tolist())
        row[:first] = next((block for block in range(problem.num_blocks) if block not in read), 0)
        row[end:] = 0
    return _with_paging(inputs, block_tables=tables)


def _with_paging(inputs: Inputs, **indices: Any) -> Inputs:
    """Return the inputs with other index tensors, and with a problem that says the same as these."""
    changed = replace(inputs, **indices)
    problem = replace(
        inputs.problem,
        index_dtype=changed.slot_mapping.dtype.name,  # type: ignore[arg-type]
        slot_mapping=tuple(changed.slot_mapping.tolist()),
        block_tables=tuple(map(tuple, changed.block_tables.tolist())),
    )
    return replace(changed, problem=problem)


def _permuted(inputs: Inputs) -> Inputs:
    problem = inputs.problem
    new_id = np.random.default_rng(problem.seed).permutation(problem.num_blocks)
    old_id = np.argsort(new_id)

    def renamed(blocks: np.ndarray) -> np.ndarray:
        valid = (blocks >= 0) & (blocks < problem.num_blocks)
        return np.where(valid, new_id[np.where(valid, blocks, 0)], blocks).astype(blocks.dtype)

    def moved(slots: np.ndarray) -> np.ndarray:
        block, offset = np.divmod(slots.astype(np.int64), problem.block_size)
        valid = (slots >= 0) & (slots < problem.num_slots)
        return np.where(valid, renamed(block) * problem.block_size + offset, slots).astype(slots.dtype)

    specials = (replace(x, row=int(moved(np.array(x.row)))) if x.tensor in CACHES else x for x in problem.specials)
    return _with_paging(
        replace(
            inputs,
            problem=replace(problem, specials=tuple(specials), numbers=()),
            **{name: getattr(inputs, name)[old_id] for name in CACHES},
        ),
        block_tables=renamed(inputs.block_tables),
        slot_mapping=moved(inputs.slot_mapping),
    )


def _alone(inputs: Inputs, i: int) -> Inputs:
    """Return sequence ``i`` in a batch of one. The others' tokens may be its context: they are already stored."""
    problem, stored = inputs.problem, store(inputs)
    rows = rows_of(problem, i)
    keys = rows if problem.reads_cache else slice(int(inputs.cu_seqlens_k[i]), int(inputs.cu_seqlens_k[i + 1]))
    new_keys = keys.stop - keys.start
    slots = (-1,) * (new_keys if problem.num_blocks else 0)
    alone = replace(
        problem,
        query_lens=problem.query_lens[i : i + 1],
        key_lens=problem.key_lens[i : i + 1],
        block_tables=problem.block_tables[i : i + 1],
        slot_mapping=slots,
        numbers=(),
        specials=(),
    )
    return replace(
        stored,
        problem=alone,
        q=inputs.q[rows],
        k=inputs.k[keys],
        v=inputs.v[keys],
        cu_seqlens_q=np.array([0, rows.stop - rows.start], inputs.cu_seqlens_q.dtype),
        cu_seqlens_k=np.array([0, new_keys], inputs.cu_seqlens_k.dtype),
        slot_mapping=np.array(slots, inputs.slot_mapping.dtype),
        context_lens=inputs.context_lens[i : i + 1],
        block_tables=inputs.block_tables[i : i + 1],
        mask=inputs.mask if inputs.mask is None or len(inputs.mask) == 1 else inputs.mask[i : i + 1],
    )


def _hidden_keys(inputs: Inputs, i: int, row: int, first: int) -> slice:
    """Return the new keys of sequence ``i`` that none of its queries up to ``row`` sees, ``first`` being the first key
    that this one does not; nor, where they go to a cache that is read, do other sequences.
    """
    problem = inputs.problem
    if not problem.reads_cache:
        return slice(int(inputs.cu_seqlens_k[i]) + first, int(inputs.cu_seqlens_k[i + 1]))
    rows = rows_of(problem, i)
    hidden = slice(rows.start + row + 1, rows.stop)
    seen = [slots[:first] if j == i else slots for j, slots in enumerate(inputs.held_slots)]
    if np.isin(inputs.slot_mapping[hidden], np.concatenate(seen)).any():
        raise OutsideLaw("what lies in the future of one sequence is seen by another")
    return hidden


def _some_row_with_a_future(inputs: Inputs) -> tuple[int, int, int]:
    """Return a sequence, one of its queries, and the first key that this query does not see; by the seed."""
    problem = inputs.problem
    candidates = [
        (i, row, int(count))
        for i, sequence in enumerate(sequences(inputs))
        for row, count in enumerate(sequence.counts)
        if row + 1 < len(sequence.q) or count < len(sequence.keys)
    ]
    if not candidates:
        raise OutsideLaw("no query has a future: each is the last and sees every key")
    return candidates[problem.seed % len(candidates)]
