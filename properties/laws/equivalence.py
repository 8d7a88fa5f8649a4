"""Laws that equate two ways to ask the same question."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from properties.laws.law import Asked, Need, OutsideLaw, law
from properties.laws.needs import A_CACHE, A_DECODE, A_PREFILL, BOTTOM_RIGHT
from properties.laws.pairs import judge_close, judge_pair
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.backends.token_by_token import as_decodes
from verification.oracle.expectation import Expectation, sequences, store
from verification.oracle.judge import Verdict, judge_same_bits, successful_output
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.labels import INDEX
from verification.problem.table import TENSORS
from verification.tensors.inputs import Array, Inputs, make_inputs


def _has_groups(backend: Backend, _: str) -> bool:
    """Return whether heads may share a kv head, and the same sizes may have a kv head for each."""
    contract = backend.contract
    if contract.compiled_sizes:
        sizes = contract.compiled_sizes
        return any(heads > kv_heads and (heads, heads, *rest) in sizes for heads, kv_heads, *rest in sizes)
    defined = {f"H/G: {ratio}" for ratio in INDEX["H/G"]} - contract.undefined
    return "H/G: 1" in defined and len(defined) > 1


GROUPS = Need("heads that share a kv head, and heads that do not (H/G)", _has_groups)


@law(to_the_bit=True, needs=(GROUPS,))
def gqa_equals_expanded_mha(backend: Asked, problem: Problem) -> Verdict:
    """out(k, v with G heads) = out(k', v' with H heads), k'_h = k_{h // (H/G)}, v'_h = v_{h // (H/G)}."""
    n_rep = problem.num_heads // problem.num_kv_heads
    if n_rep == 1:
        raise OutsideLaw("there are as many kv heads as heads already")
    inputs = make_inputs(problem)
    expanded = replace(
        inputs,
        problem=replace(problem, num_kv_heads=problem.num_heads, numbers=()),
        **{
            name: np.repeat(getattr(inputs, name), n_rep, row.axes.index("G"))
            for name, row in TENSORS.items()
            if "G" in row.axes
        },
    )
    return judge_pair(backend, inputs, expanded)


@law(phases=("decode",), plain=True, needs=(A_PREFILL, BOTTOM_RIGHT))
def decode_is_the_last_row_of_prefill(backend: Asked, problem: Problem) -> Verdict:
    """|decode(q, cache)_i - prefill(..., q_i; cached k, v)_last| <= bound + bound'."""
    inputs = make_inputs(problem)
    whole = all(len(slots) == length for slots, length in zip(inputs.held_slots, problem.key_lens, strict=True))
    if problem.scoring.asks_positions and not whole:  # a prefill's keys lie side by side
        raise OutsideLaw("a block of the context is missing, and a window or alibi asks how far its keys lie")
    prefill, last = _as_prefill(inputs)
    return judge_close(backend, inputs, np.arange(problem.num_sequences), prefill, last)


RAGGED = Need("sequences of unequal lengths (not dense_batches)", A_CACHE.met)


@law(phases=("prefill",), plain=True, needs=(RAGGED, BOTTOM_RIGHT))
def chunks_equal_one_shot(backend: Asked, problem: Problem) -> Verdict:
    """Bottom-right: |prefill(q_c.., k, v) - prefill(q, k, v)_c..| <= bound + bound' for queries from any c on."""
    whole = replace(
        problem, query_lens=problem.key_lens, causal_alignment="bottom_right", layout="contiguous", numbers=()
    )
    inputs = make_inputs(whole)
    rng = np.random.default_rng(problem.seed)
    cuts = [int(rng.integers(length + 1)) for length in whole.key_lens]
    rows = [np.arange(cut, length) for cut, length in zip(cuts, whole.key_lens, strict=True)]
    kept = np.concatenate(
        [np.empty(0, np.int64), *(r + start for r, start in zip(rows, inputs.cu_seqlens_k.tolist(), strict=False))]
    )
    lengths = tuple(len(r) for r in rows)
    chunk = replace(
        inputs,
        problem=replace(whole, query_lens=lengths),
        q=inputs.q[kept],
        cu_seqlens_q=np.cumsum((0, *lengths)).astype(inputs.cu_seqlens_q.dtype),
    )
    return judge_close(backend, chunk, np.arange(len(kept)), inputs, kept)


@law(phases=("chunked",), needs=(A_DECODE,))
def a_chunk_is_its_decodes(backend: Asked, problem: Problem) -> Verdict:
    """|chunked(q)_a - decode(q_a, the context up to a's position)| <= bound + bound'."""
    inputs, rows = make_inputs(problem), np.arange(problem.num_queries)
    return judge_close(backend, inputs, rows, as_decodes(inputs), rows)


@law(to_the_bit=True, only_if_claimed=True, plain=True)
def values_scale_exactly(backend: Asked, problem: Problem) -> Verdict:
    """out(q, k, 2^n v) = 2^n out(q, k, v), where no weighted value and no output leaves its normal range."""
    inputs = make_inputs(problem)
    top = FORMATS[problem.cache_format].largest
    held = np.concatenate([np.abs(x.astype(np.float64)).reshape(-1) for x in (inputs.v, inputs.v_cache)])
    factor = 2.0 if np.nanmax(held, initial=0.0) <= top / 2 else 0.5
    scaled = {name: (getattr(inputs, name) * factor).astype(getattr(inputs, name).dtype) for name in ("v", "v_cache")}
    if not all(np.array_equal(array / factor, getattr(inputs, name), equal_nan=True) for name, array in scaled.items()):
        raise OutsideLaw("a value leaves the range in which it can be scaled exactly")
    output, other = (successful_output(observe(backend, x)) for x in (inputs, replace(inputs, **scaled)))
    # What is rounded up to the smallest normal number was rounded on the subnormals' grid.
    smallest = 2 * FORMATS[problem.dtype].smallest_normal
    normal = (np.abs(output) >= smallest) & (np.abs(other) >= smallest)
    with np.errstate(invalid="ignore"):  # a NaN may be a signalling one
        expected = (output.astype(np.float64) * factor).astype(output.dtype)
    comparable = normal & _all_products_normal(expected_from(backend, inputs))
    if not comparable.any():
        raise OutsideLaw("every output, or a product that it is made of, is below the normal range")
    judge_same_bits(
        np.where(comparable, other, 0), np.where(comparable, expected, 0), f"values times {factor}", problem.query_lens
    )
    return Verdict()


_WIDER = {"float16": "float32", "bfloat16": "float32", "float32": "float64"}
WIDER = Need("the next wider dtype as well", lambda backend, dtype: _WIDER.get(dtype) in backend.contract.dtypes)


@law(needs=(WIDER,))
def wider_dtypes_agree(backend: Asked, problem: Problem) -> Verdict:
    """|out(x in a dtype) - out(the same numbers in the next wider one)| <= bound + bound'."""
    wider = _WIDER[problem.dtype]
    if problem.cache_dtype:
        raise OutsideLaw("the cache has a dtype of its own, which has no wider one")
    inputs = make_inputs(problem)
    fmt = FORMATS[wider].numpy
    names = (name for name, row in TENSORS.items() if row.dtype(problem) == FORMATS[problem.dtype].numpy)
    given = {name: x for name in names if (x := getattr(inputs, name)) is not None}
    arrays = {name: x.astype(fmt) for name, x in given.items()}
    other = replace(inputs, problem=replace(problem, dtype=wider), **arrays)
    return judge_close(backend, inputs, np.arange(problem.num_queries), other, np.arange(problem.num_queries))


def _as_prefill(inputs: Inputs) -> tuple[Inputs, Array]:
    """Return the decode's sequences as a prefill over what the cache shows them, and the rows that should agree."""
    problem, rng = inputs.problem, np.random.default_rng(inputs.problem.seed)
    cut = sequences(store(inputs))
    keys = tuple(len(sequence.keys) for sequence in cut)
    queries = tuple(max(1, int(rng.integers(1, min(length, 3) + 1)) if length else 1) for length in keys)
    prefill = replace(
        problem,
        phase="prefill",
        query_lens=queries,
        key_lens=keys,
        block_tables=(),
        slot_mapping=(),
        num_blocks=0,
        causal_alignment="bottom_right",
        cache_layout="contiguous",
        numbers=(),
        specials=(),
    )
    index = inputs.slot_mapping.dtype
    empty = np.empty((0, *inputs.k.shape[1:]), inputs.k.dtype)
    converted = replace(
        make_inputs(prefill),
        q=np.repeat(inputs.q, queries, axis=0),
        k=np.concatenate([empty, *(sequence.keys for sequence in cut)]),
        v=np.concatenate([empty, *(sequence.values for sequence in cut)]),
        cu_seqlens_k=np.cumsum((0, *keys)).astype(index),
    )
    return converted, np.cumsum(queries, dtype=np.int64) - 1


def _all_products_normal(expectation: Expectation) -> Array:
    """Return ``[T, H, 1]``: where the smallest weight times the smallest value is far above the accumulator's
    subnormals.
    """
    comparable = np.zeros((*expectation.exact.shape[:2], 1), bool)
    for sequence, attended in expectation.sequences:
        values = np.abs(sequence.values.astype(np.float64))
        smallest = values[values > 0].min(initial=np.inf)
        if not np.isfinite(smallest):
            continue
        weights = attended.weights.swapaxes(0, 1)
        for row, count in enumerate(sequence.counts):
            if count:
                lightest = weights[row, :, :count].min(axis=-1)
                comparable[sequence.rows.start + row, :, 0] = lightest * smallest >= 2.0**-100
    return comparable
