"""Laws of what is done to scores: settings that should do nothing, and masks that say the same."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np

from properties.laws.law import Asked, Need, OutsideLaw, law
from properties.laws.pairs import judge_pair
from verification.backends.expected import expected_from
from verification.oracle.expectation import Expectation
from verification.oracle.judge import Verdict
from verification.oracle.rows import make_rows
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.scoring import Scoring
from verification.tensors.inputs import Inputs, make_inputs

# A softcap c takes (s / c)^2 / 3 of a score s, relative: 1 / 3c where s is no larger than the root of c. For 2^60 that
# is far below the roundings of float64; 2^15 takes 1e-5, and to float16 a score is rounded by 5e-4.
_VAST, _VAST_IN_FLOAT16 = 2.0**60, 2.0**15
MASKS = ("bool_mask", "float_mask")
BOTH_MASKS = Need(" and ".join(MASKS), lambda backend, _: backend.contract.scoring.issuperset(MASKS))
POSITIONS = Need("an alignment other than none", lambda backend, _: set(backend.contract.alignments) != {"none"})


@law(to_the_bit=True, scoring=("window",), needs=(POSITIONS,))
def an_endless_window_is_none(backend: Asked, problem: Problem) -> Verdict:
    """out(window as wide as all positions, or more) = out(no window)."""
    _with_queries(problem)
    if problem.causal_alignment == "none":
        raise OutsideLaw("without an alignment no query has a position for a window to end at")
    longest = max((*problem.query_lens, *problem.key_lens), default=0) + problem.seed % 3
    without, endless = (
        replace(problem, scoring=replace(problem.scoring, window=window)) for window in (0, max(1, longest))
    )
    return judge_pair(backend, make_inputs(without), endless)


@law(to_the_bit=True, scoring=("softcap",))
def a_vast_softcap_is_none(backend: Asked, problem: Problem) -> Verdict:
    """out(softcap = c) = out(no softcap), for c = 2^60, or 2^15 where scores are float16, if each score that is seen is
    at most sqrt(c), or NaN, or -Inf in a row that sees another. (Capped, Inf would be a number.)
    """
    _with_queries(problem)
    cap = _VAST
    if backend.precision.resolve(problem.dtype).scores.name == "float16":  # which holds no such cap
        problem, cap = replace(problem, score_fill="normal", numbers=()), _VAST_IN_FLOAT16
    without, vast = (replace(problem, scoring=replace(problem.scoring, softcap=x)) for x in (0.0, cap))
    inputs = make_inputs(without)
    if _is_capped(expected_from(backend, inputs), inputs, cap):
        raise OutsideLaw("a score that is seen is infinite, or too large for the cap to be nothing")
    return judge_pair(backend, inputs, vast)


@law(to_the_bit=True, phases=("prefill",), scoring=MASKS)
def a_mask_that_hides_nothing_is_none(backend: Asked, problem: Problem) -> Verdict:
    """out(mask of zeros, or of True) = out(no mask), in every shape that broadcasts."""
    mask = replace(_mask_of(backend, problem), blind_rows=False)
    without = make_inputs(replace(problem, scoring=replace(mask, mask="", mask_axes="bhqk")))
    masked = make_inputs(replace(problem, scoring=mask))
    assert masked.mask is not None
    nothing = np.zeros_like(masked.mask) if mask.mask == "float" else np.ones_like(masked.mask)
    return judge_pair(backend, without, replace(masked, mask=nothing))


@law(to_the_bit=True, phases=("prefill",), scoring=MASKS)
def a_mask_equals_its_broadcast(backend: Asked, problem: Problem) -> Verdict:
    """out(mask of [B or 1, H or 1, Lq or 1, Lk or 1]) = out(the same, written out)."""
    mask = _mask_of(backend, problem)
    narrow = make_inputs(replace(problem, scoring=mask))
    assert narrow.mask is not None
    sizes = problem.num_sequences, problem.num_heads, problem.query_lens[0], problem.key_lens[0]
    if narrow.mask.shape == sizes:
        raise OutsideLaw("the mask is already as wide as the scores")
    written = np.ascontiguousarray(np.broadcast_to(narrow.mask, sizes))
    wide = replace(narrow, problem=replace(problem, scoring=replace(mask, mask_axes="bhqk")), mask=written)
    return judge_pair(backend, narrow, wide)


@law(to_the_bit=True, phases=("prefill",), scoring=MASKS, needs=(BOTH_MASKS,))
def a_bool_mask_is_a_float_mask(backend: Asked, problem: Problem) -> Verdict:
    """out(mask) = out(0 where the mask is true, -Inf elsewhere)."""
    shown = make_inputs(replace(problem, scoring=replace(_mask_of(backend, problem), mask="bool")))
    assert shown.mask is not None
    added = np.where(shown.mask, 0.0, -np.inf).astype(FORMATS[problem.dtype].numpy)
    scoring = replace(shown.problem.scoring, mask="float")
    other = replace(shown, problem=replace(problem, scoring=scoring), mask=added)
    return judge_pair(backend, shown, other)


def _with_queries(problem: Problem) -> None:
    """Raise OutsideLaw where there is no query, hence no score."""
    if not problem.num_queries:
        raise OutsideLaw("there is no query")


def _is_capped(expectation: Expectation, inputs: Inputs, cap: float) -> bool:
    """Return True if the cap is more than rounding to some score that is seen, or to a row that sees -Inf alone."""
    for i, (sequence, attended) in enumerate(expectation.sequences):
        rows, scores = make_rows(inputs, i, sequence.counts, len(sequence.keys)), attended.scores
        seen = np.arange(len(sequence.keys)) < sequence.counts[:, None] if rows is None else rows.visible
        others = seen & (scores != -np.inf)
        only_below = (seen & (scores == -np.inf)).any(axis=-1) & ~others.any(axis=-1)
        if (others & (np.abs(scores) > sqrt(cap))).any() or only_below.any():
            return True
    return False


def _mask_of(backend: Asked, problem: Problem) -> Scoring:
    """Return the problem's scoring with a mask of one of the kinds that the backend takes, by the seed. No window is
    beside it, which could leave a row without keys. Raises OutsideLaw where lengths are not equal.
    """
    _with_queries(problem)
    if not problem.is_uniform:
        raise OutsideLaw("a mask is over sequences of equal lengths, without a cache")
    kinds = sorted(name.removesuffix("_mask") for name in MASKS if name in backend.contract.scoring)
    axes = ("qk", "k", "bk", "hqk", "")[problem.seed % 5]
    kind = kinds[problem.seed // 5 % len(kinds)]
    return replace(problem.scoring, window=0, mask=kind, mask_axes=axes)  # type: ignore[arg-type]
