"""The exact answer, dense and naive, in float64, and how far an honest one may be from it.

One text serves NumPy (independent of torch's arithmetic) and torch float64 on a GPU: ``xp`` is either's array-API
namespace. ``docs/error-bound.md`` derives the bound; the names here are its names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verification.precision import Roundings

Namespace = Any
Array = Any  # an array of `xp`; the array API has no type for it yet
_REFERENCE_UNIT = 2.0**-53


@dataclass(frozen=True)
class Attended:
    """One sequence: ``out`` and ``bound`` ``[H, Lq, D]``; ``[H, Lq, Lk]`` are ``scores`` and their own bound, both
    before the mask, and ``weights``, 0 where hidden.

    ``bound`` is 0 where NaN or Inf is demanded and inf where anything goes.
    """

    out: Array
    bound: Array
    scores: Array
    scores_bound: Array
    weights: Array


def attend(
    xp: Namespace, q: Array, k: Array, v: Array, counts: Array, scale: float, roundings: Roundings
) -> Attended:
    """``q [H, Lq, D]``, ``k``, ``v [H, Lk, D]`` in float64; query ``a`` sees the first ``counts[a]`` keys."""
    num_keys = k.shape[1]
    magnitude = scale * xp.matmul(xp.abs(q), _transposed(xp, xp.abs(k)))
    scores = scale * xp.matmul(q, _transposed(xp, k))
    scores_bound = _scores_bound(xp, scores, magnitude, q.shape[-1], scale, roundings)
    visible = xp.arange(num_keys, device=k.device)[None, :] < counts[:, None]
    if not (num_keys and q.shape[1]):
        return Attended(xp.zeros_like(q), xp.zeros_like(q), scores, scores_bound, scores)

    shifted = xp.where(visible, scores, -xp.inf)
    top = xp.max(shifted, axis=-1, keepdims=True)
    shifted = shifted - xp.where(counts[:, None] > 0, top, 0.0)
    exps = xp.exp(shifted)
    total = xp.sum(exps, axis=-1, keepdims=True)
    weights = exps / xp.where(counts[:, None] > 0, total, 1.0)

    error = scores_bound + roundings.unit * xp.where(xp.isfinite(shifted), xp.abs(shifted), 0.0)
    finite = xp.where(xp.isfinite(v), v, 0.0)
    out = xp.matmul(weights, finite)
    bound = _output_bound(xp, out, weights, error, finite, visible, counts, roundings)
    if not bool(xp.all(xp.isfinite(v))):
        out, bound = _put_in_nonfinite(xp, out, bound, weights, v, visible, roundings)
    bound = _where_nothing_can_be_said(xp, bound, scores, scores_bound, visible, finite, roundings)
    return Attended(out, xp.where(xp.isnan(out) & (bound != xp.inf), 0.0, bound), scores, scores_bound, weights)


def _scores_bound(xp: Namespace, scores: Array, magnitude: Array, head_dim: int, scale: float, r: Roundings) -> Array:
    """``gamma_{D+2}(u) A + 3u|S| + u_scores|S| (+ u_in A)``: product, scale, storage.

    0 where S is not finite; inf where an honest sum, or its storage, may overflow.
    """
    unit = r.unit + _REFERENCE_UNIT
    of_magnitude = _gamma(head_dim + 2, unit) + (r.query.unit if r.query else 0.0)
    of_score = 3 * unit + (r.scores.unit if r.scores != r.accumulate else 0.0)
    bound = of_magnitude * magnitude + of_score * xp.abs(scores)
    limit = min(r.accumulate.largest * scale, r.scores.largest) / 4
    bound = xp.where(magnitude < limit, bound, xp.inf)
    return xp.where(xp.isfinite(scores), bound, 0.0)


def _output_bound(
    xp: Namespace,
    out: Array,
    weights: Array,
    error: Array,
    v: Array,
    visible: Array,
    counts: Array,
    r: Roundings,
) -> Array:
    unit = r.unit + _REFERENCE_UNIT
    keys = xp.astype(counts, xp.float64)[:, None]
    seen = xp.astype(visible, xp.float64)
    cast = r.probabilities.unit if r.probabilities != r.accumulate else 0.0
    # What a weight may lose below its format's normal range, and below the accumulator's: there it may be flushed.
    lost = r.accumulate.smallest_normal
    lost += r.probabilities.smallest_subnormal / 2 if r.probabilities != r.accumulate else 0.0
    subnormal = r.output.smallest_subnormal / 2 + 2 * keys * r.accumulate.smallest_subnormal

    relative = xp.where(visible, xp.expm1(xp.minimum(error, xp.asarray(30.0, device=error.device))), 0.0)
    wrong = weights * (relative + 8 * unit)  # p_j |h_j|
    # Past e^30 a weight that is 0 in float64 may come out large: a row that holds such a score is left to convexity.
    total_wrong = xp.sum(wrong, axis=-1, keepdims=True) + xp.astype(
        xp.any(visible & (error > 30.0), axis=-1, keepdims=True), xp.float64
    )
    room = xp.maximum(1.0 - total_wrong, xp.asarray(1e-300, device=error.device))
    mixed = wrong / room + (2 * _gamma(keys, unit) + cast) * weights + lost * seen
    bound = xp.matmul(mixed, xp.abs(v))
    bound = bound + xp.abs(out) * (total_wrong / room + 3 * unit + r.output.unit) + subnormal

    # An attention output is a weighted mean of the values that the row sees.
    high, low = (_prefix_max(xp, x, counts) for x in (v, -v))
    hull = (high + low) + hull_rounding(keys, r) * xp.maximum(high, low) + subnormal
    bound = xp.where(total_wrong < 1.0, xp.minimum(bound, hull), hull)
    return xp.where(counts[:, None] > 0, bound, 0.0)


def hull_rounding(keys: Array, r: Roundings) -> Array:
    """How far out of the hull of ``keys`` values rounding may carry a weighted mean, relative to the largest."""
    cast = r.probabilities.unit if r.probabilities != r.accumulate else 0.0
    lost = r.accumulate.smallest_normal + (r.probabilities.smallest_subnormal / 2 if cast else 0.0)
    return (2 * keys + 8) * (r.unit + _REFERENCE_UNIT) + cast + r.output.unit + lost * keys


def _put_in_nonfinite(
    xp: Namespace, out: Array, bound: Array, weights: Array, v: Array, visible: Array, r: Roundings
) -> tuple[Array, Array]:
    """A visible NaN must appear. A visible Inf must where its weight cannot vanish; else 0 * Inf is anyone's guess."""
    floor = 2 * max(r.accumulate.smallest_normal, r.probabilities.smallest_normal)
    seen, strong = (xp.astype(mask, xp.float64) for mask in (visible & (weights == weights), weights >= floor))
    nan = xp.matmul(seen, xp.astype(xp.isnan(v), xp.float64)) > 0
    infinite = [xp.astype(v == sign, xp.float64) for sign in (xp.inf, -xp.inf)]
    above, below = (xp.matmul(strong, sign) > 0 for sign in infinite)
    every = [xp.matmul(seen, sign) > 0 for sign in infinite]
    unsure = (every[0] ^ above) | (every[1] ^ below)
    out = xp.where(above, xp.inf, xp.where(below, -xp.inf, out))
    out = xp.where(nan | (above & below), xp.nan, out)
    bound = xp.where(nan | above | below, 0.0, bound)
    return out, xp.where(unsure & ~nan, xp.inf, bound)


def _where_nothing_can_be_said(
    xp: Namespace, bound: Array, scores: Array, scores_bound: Array, visible: Array, v: Array, r: Roundings
) -> Array:
    """inf for rows whose visible scores are all -Inf (0/0), or that may overflow a format which the profile uses."""
    nothing = xp.all((scores == -xp.inf) | ~visible, axis=-1) & xp.any(visible, axis=-1)
    too_large = nothing | xp.any(visible & (scores_bound == xp.inf), axis=-1)
    too_heavy = xp.max(xp.abs(v), axis=1, keepdims=True) * v.shape[1] >= r.accumulate.largest / 4
    return xp.where(too_large[..., None] | too_heavy, xp.inf, bound)


def _prefix_max(xp: Namespace, v: Array, counts: Array) -> Array:
    """``[H, Lq, D]``: the largest of the first ``counts[a]`` rows of ``v`` (of the first row where there are none)."""
    if v.shape[1] == 1 or bool(xp.all(counts == v.shape[1])):
        return xp.max(v, axis=1, keepdims=True) + xp.zeros((1, counts.shape[0], 1), device=v.device)
    step = 1
    while step < v.shape[1]:
        v = xp.concat([v[:, :step], xp.maximum(v[:, step:], v[:, :-step])], axis=1)
        step *= 2
    return xp.take(v, xp.maximum(counts - 1, xp.asarray(0, device=counts.device)), axis=1)


def _gamma(n: Any, unit: float) -> Any:
    """Higham, Accuracy and Stability of Numerical Algorithms, section 3.1."""
    return n * unit / (1 - n * unit)


def _transposed(xp: Namespace, x: Array) -> Array:
    return xp.permute_dims(x, (0, 2, 1))
