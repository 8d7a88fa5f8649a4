"""Laws of what is done to scores: settings that should do nothing, and masks that say the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from properties.law import OutsideLaw
from properties.laws.pairs import judge_pair
from verification.backends.protocol import Backend
from verification.oracle.judge import Verdict
from verification.problem import Problem
from verification.problem.formats import FORMATS
from verification.problem.scoring import Scoring
from verification.tensors.inputs import make_inputs

# Beyond it a softcap is nothing: (s / c)^2 / 3, relative, of a score that is no larger than its square root.
_VAST = 2.0**60
# Of scores within a hundred it takes 3e-6, relative; to float16 they are rounded by 5e-4.
_VAST_IN_FLOAT16 = 2.0**15


def an_endless_window_is_none(backend: Backend, problem: Problem) -> Verdict:
    """out(window as wide as all positions, or more) = out(no window)."""
    _only(backend, problem, "window")
    if problem.causal_alignment == "none":
        raise OutsideLaw
    longest = max((*problem.query_lens, *problem.key_lens), default=0) + problem.seed % 3
    without, endless = (
        replace(problem, scoring=replace(problem.scoring, window=window)) for window in (0, max(1, longest))
    )
    return judge_pair(backend, an_endless_window_is_none.__name__, make_inputs(without), endless)


def a_vast_softcap_is_none(backend: Backend, problem: Problem) -> Verdict:
    """out(softcap = 2^60) = out(no softcap); 2^15 where scores are float16."""
    _only(backend, problem, "softcap")
    cap = _VAST
    if backend.precision.resolve(problem.dtype).scores.name == "float16":  # which holds no such cap
        problem, cap = replace(problem, score_fill="normal", numbers=()), _VAST_IN_FLOAT16
    without, vast = (replace(problem, scoring=replace(problem.scoring, softcap=x)) for x in (0.0, cap))
    return judge_pair(backend, a_vast_softcap_is_none.__name__, make_inputs(without), vast)


def a_mask_that_hides_nothing_is_none(backend: Backend, problem: Problem) -> Verdict:
    """out(mask of zeros, or of True) = out(no mask), in every shape that broadcasts."""
    mask = _mask_of(backend, problem)
    without = make_inputs(replace(problem, scoring=replace(mask, mask="", mask_axes="bhqk")))
    masked = make_inputs(replace(problem, scoring=mask))
    assert masked.mask is not None
    nothing = np.zeros_like(masked.mask) if mask.mask == "float" else np.ones_like(masked.mask)
    return judge_pair(backend, a_mask_that_hides_nothing_is_none.__name__, without, replace(masked, mask=nothing))


def a_mask_equals_its_broadcast(backend: Backend, problem: Problem) -> Verdict:
    """out(mask of [B or 1, H or 1, Lq or 1, Lk or 1]) = out(the same, written out)."""
    mask = _mask_of(backend, problem)
    narrow = make_inputs(replace(problem, scoring=mask))
    assert narrow.mask is not None
    sizes = problem.num_sequences, problem.num_heads, problem.query_lens[0], problem.key_lens[0]
    if narrow.mask.shape == sizes:
        raise OutsideLaw
    written = np.ascontiguousarray(np.broadcast_to(narrow.mask, sizes))
    wide = replace(narrow, problem=replace(problem, scoring=replace(mask, mask_axes="bhqk")), mask=written)
    return judge_pair(backend, a_mask_equals_its_broadcast.__name__, narrow, wide)


def a_bool_mask_is_a_float_mask(backend: Backend, problem: Problem) -> Verdict:
    """out(mask) = out(0 where the mask is true, -Inf elsewhere)."""
    if not {"bool_mask", "float_mask"} <= backend.contract.scoring:
        raise OutsideLaw
    shown = make_inputs(replace(problem, scoring=replace(_mask_of(backend, problem), mask="bool")))
    assert shown.mask is not None
    added = np.where(shown.mask, 0.0, -np.inf).astype(FORMATS[problem.dtype].numpy)
    scoring = replace(shown.problem.scoring, mask="float")
    other = replace(shown, problem=replace(problem, scoring=scoring), mask=added)
    return judge_pair(backend, a_bool_mask_is_a_float_mask.__name__, shown, other)


def _only(backend: Backend, problem: Problem, feature: str) -> None:
    if feature not in backend.contract.scoring or not problem.num_queries:
        raise OutsideLaw


def _mask_of(backend: Backend, problem: Problem) -> Scoring:
    """The problem's, or by its seed one of the kinds that the backend takes. No window beside it, which could leave a
    row without keys.
    """
    kinds = sorted(name.removesuffix("_mask") for name in backend.contract.scoring if name.endswith("_mask"))
    if not kinds or not problem.num_queries:
        raise OutsideLaw
    axes = ("qk", "k", "bk", "hqk", "")[problem.seed % 5]
    kind = kinds[problem.seed // 5 % len(kinds)]
    return replace(problem.scoring, window=0, mask=kind, mask_axes=axes)  # type: ignore[arg-type]
