"""Laws that compare one answer with the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from properties.laws.law import Need, OutsideLaw, law
from verification.backends.expected import expected_from
from verification.backends.observe import observe
from verification.backends.protocol import Backend
from verification.oracle.bound import hull_rounding
from verification.oracle.difference import difference
from verification.oracle.judge import (
    Verdict,
    Violation,
    finite_is_owed,
    judge_events,
    judge_outputs,
    successful_output,
    successful_outputs,
)
from verification.oracle.predicted_events import excuse_uncomputed
from verification.problem import Problem, Special
from verification.problem.visibility import has_blind_rows
from verification.tensors.inputs import Inputs, make_inputs


@law()
def agrees_with_reference(backend: Backend, problem: Problem) -> Verdict:
    """|out - exact| <= bound for every output element; NaN and Inf exactly where the exact result has them."""
    inputs = make_inputs(problem)
    return judge_outputs(successful_outputs(observe(backend, inputs)), expected_from(backend, inputs))


@law()
def finite_stays_finite(backend: Backend, problem: Problem) -> Verdict:
    """exact finite and representable => out finite, whatever lies in places that the row does not see."""
    inputs = make_inputs(problem)
    output, expectation = successful_output(observe(backend, inputs)), expected_from(backend, inputs)
    owed = finite_is_owed(expectation, expectation.roundings.output) & np.isfinite(expectation.bound)
    wrong = owed & ~np.isfinite(output)
    if wrong.any():
        found = difference(
            wrong, output, expectation.exact, expectation.bound, int(wrong.argmax()), expectation.query_lens
        )
        raise Violation(f"{int(wrong.sum())} elements are not finite, and the exact result is", found)
    return Verdict()


NAN_SHOWN = Need(
    "visible NaN that is promised to appear (nonfinite)",
    lambda backend, _: backend.contract.nonfinite and "special: nan seen" not in backend.contract.undefined,
)
WARNINGS = Need("warnings of its range (range_events)", lambda backend, _: backend.contract.range_events)


@law(needs=(NAN_SHOWN,))
def visible_nan_appears(backend: Backend, problem: Problem) -> Verdict:
    """k_b or v_b is NaN and query a sees b => out_a is NaN (all dims for k, that dim for v); all else is in bound."""
    if problem.scoring.shapes_rows:
        raise OutsideLaw("a mask, window, softcap, alibi or sink changes what a NaN reaches")
    inputs = _with_visible_nan(make_inputs(problem))
    return judge_outputs(successful_outputs(observe(backend, inputs)), expected_from(backend, inputs))


@law(plain=True)
def stays_in_convex_hull(backend: Backend, problem: Problem) -> Verdict:
    """min_b v_bd <= out_ad <= max_b v_bd over the visible b, up to the rounding of a weighted mean; 0 if none is."""
    if problem.scoring.shapes_rows:  # the bound knows that hull
        raise OutsideLaw("a mask, window, softcap, alibi or sink changes the hull")
    if backend.contract.blind != "zeros" and has_blind_rows(problem):  # whose hull is a point
        raise OutsideLaw("a row that sees nothing has no hull, and the contract promises no zeros there")
    inputs = make_inputs(problem)
    output, expectation = successful_output(observe(backend, inputs)), expected_from(backend, inputs)
    low, high, room = np.zeros(output.shape), np.zeros(output.shape), np.zeros(output.shape)
    subnormal = expectation.roundings.output.smallest_subnormal
    for sequence, _ in expectation.sequences:
        values = np.repeat(sequence.values.astype(np.float64), problem.num_heads // problem.num_kv_heads, axis=1)
        for row, count in enumerate(sequence.counts, start=sequence.rows.start):
            if count:
                low[row], high[row] = values[:count].min(axis=0), values[:count].max(axis=0)
                largest = np.maximum(np.abs(low[row]), np.abs(high[row]))
                underflow = subnormal + count * expectation.roundings.lost_term
                room[row] = hull_rounding(count, expectation.roundings) * largest + underflow
    with np.errstate(invalid="ignore"):  # a NaN may be a signalling one, as mlx rounds them
        outside = np.maximum(low - output.astype(np.float64), output.astype(np.float64) - high)
    # Where an honest sum may overflow, as scores in float16 do, nothing is said.
    wrong = ~(outside <= room) & (expectation.bound < np.inf)
    if wrong.any():
        got = output.astype(np.float64)
        nearest = np.where(np.isnan(got), expectation.exact, np.clip(got, low, high))  # no number is nearest to NaN
        found = difference(wrong, output, nearest, room, int(wrong.argmax()), expectation.query_lens)
        raise Violation(f"{int(wrong.sum())} elements outside the hull of the values", found)
    return Verdict()


@law(needs=(WARNINGS,))
def logs_what_is_owed(backend: Backend, problem: Problem) -> Verdict:
    """events(backend) = events(reference): each check warns iff max > 1e4 or min < -1e4 or a NaN or Inf is there."""
    inputs = make_inputs(problem)
    observation = observe(backend, inputs)
    successful_output(observation)
    predictions = expected_from(backend, inputs).predictions
    judge_events(observation.events, excuse_uncomputed(predictions, backend.contract.uncomputed))
    return Verdict()


def _with_visible_nan(inputs: Inputs) -> Inputs:
    """Return the inputs with one NaN, by the seed, where the last query of some sequence sees it."""
    problem = inputs.problem
    rng = np.random.default_rng(problem.seed)
    name = "kv"[int(rng.integers(2))]
    if problem.reads_cache:
        unstored = [np.setdiff1d(slots, inputs.slot_mapping) for slots in inputs.visible_slots]
        rows, name = np.concatenate([np.empty(0, np.int64), *unstored]), f"{name}_cache"
    else:
        seen = zip(inputs.cu_seqlens_k.tolist(), problem.query_lens, problem.key_lens, strict=False)
        rows = np.array([start for start, queries, keys in seen if queries and keys])
    if not len(rows):
        raise OutsideLaw("no key that is already there is seen, so no NaN can be put into one")
    array = getattr(inputs, name).copy()
    flat = array.reshape(-1, *array.shape[-2:])
    place = int(rng.choice(rows)), int(rng.integers(array.shape[-2])), int(rng.integers(array.shape[-1]))
    flat[place] = np.nan
    problem = replace(problem, specials=(*problem.specials, Special(name, *place, "nan")))
    return replace(inputs, problem=problem, **{name: array})
