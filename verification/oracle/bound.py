"""The bound: by how much an honest answer may differ from the exact one, element by element.

The derivation is `docs/error-bound.md`; the comments name its terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verification.oracle.extremes import masked_extremes, prefix_extremes
from verification.oracle.precision import Roundings

Namespace = Any
Array = Any
# A score that may be off by more could turn a weight that is 0 in float64 into a large one.
_LARGEST_SCORE_ERROR = 30.0
# A factor that leaves a row to its hull.
_ANYTHING = 2.0**64


@dataclass(frozen=True)
class Softmax:
    """The exact weights of one sequence, and what is known of the exponents that they are made from."""

    weights: Array
    """``[H, Lq, Lk]``."""
    error: Array
    """``[H, Lq, Lk]``, ``e_j``: how far each exponent may be off. It is 0 where a key is hidden or its score infinitely
    far below the row's largest, and inf where a score may overflow.
    """
    visible: Array
    """``[Lq, Lk]`` where every head sees the first ``counts`` keys, else ``[H, Lq, Lk]``."""
    counts: Array
    """``[Lq]`` or, beside ``visible`` by heads, ``[H, Lq]``: how many keys each row sees."""
    excess: Array = 0.0
    """``[H, Lq, 1]``: by how much the weights of a row's parts may add up to more or less than 1; 0 where they are
    divided by their own sum.
    """


def scores_bound(
    xp: Namespace, scores: Array, product: Array, head_dim: int, scale: float, r: Roundings, underflow: Array = 0.0
) -> Array:
    """Return the bound of scaled scores ``S``: ``gamma_{D+2}(u) A + 3u|S| + u_scores|S| (+ u_in A + u_in |S|)``.

    The terms stand for the product, the scale and the storage; what lies below a normal range is ``underflow`` (see
    `underflow_of_scores`). ``A`` is the scale times ``product``, the sum of magnitudes. The bound is 0 where S is not
    finite, and inf where an honest sum, or its storage, may overflow.
    """
    magnitude = abs(scale) * product
    of_magnitude = gamma(xp, float(head_dim + 2), r) + (r.query.unit if r.query else 0.0)
    of_score = 3 * r.total_unit + r.scores_cast + r.scale_cast
    bound = of_magnitude * magnitude + of_score * xp.abs(scores) + underflow
    fits = (product < r.accumulate.largest / 4) & (magnitude < r.scores.largest / 4)
    if r.unscaled_scores:
        fits = fits & (product < r.scores.largest / 4)
    bound = xp.where(fits, bound, xp.inf)
    return xp.where(xp.isfinite(scores), bound, 0.0)


def underflow_of_scores(xp: Namespace, q: Array, k: Array, scale: float, r: Roundings) -> Array:
    """Return by how much scores may be off since numbers of ``q [H, Lq, D]`` and ``k [H, Lk, D]`` lie below a normal
    range: those of q once the scale is folded into it, and those of both where an instruction takes them for 0.
    """
    if not (r.lost_query or r.flushed):
        return 0.0
    queries, keys = xp.sum(xp.abs(q), axis=-1)[:, :, None], xp.sum(xp.abs(k), axis=-1)[:, None, :]
    return r.lost_query * keys + r.flushed * abs(scale) * (queries + keys)


def output_bound(xp: Namespace, out: Array, softmax: Softmax, v: Array, r: Roundings) -> Array:
    """Return the bound of ``out = weights v`` for finite ``v [H, Lk, D]``; inf for rows whose sums may overflow."""
    unit = r.total_unit
    keys = xp.astype(softmax.counts, xp.float64)[..., None]
    # t_out, t_partials, underflowing products and sums.
    tiny = r.output.smallest_subnormal / 2 + r.lost_partial + keys * r.lost_term
    magnitudes = xp.abs(v)

    # p_j |h_j|, and H. Where 1 - H is not positive, the hull (below) is all that is known.
    wrong, of_values = _errors_of_weights(xp, softmax, keys, r)
    total_wrong = xp.sum(wrong, axis=-1, keepdims=True)
    room = 1.0 - total_wrong
    of_weights = _of_wrong_weights(xp, out, wrong, total_wrong, v) / room
    bound = of_weights + xp.matmul(of_values, magnitudes) + (3 * unit + r.output.unit) * xp.abs(out) + tiny

    # An attention output is a weighted mean of the values that the row sees.
    high, low = _extremes(xp, v, softmax)
    largest = xp.where(high > -low, high, -low)
    hull = (high - low) + hull_rounding(keys, r) * largest + tiny
    bound = xp.where((room > 0.0) & (bound < hull), bound, hull)
    if r.merges_by_lse:  # a mean that is multiplied by 1 + excess; so neither of the two holds
        bound = bound + softmax.excess * (xp.abs(out) + bound)

    may_overflow = softmax.error == xp.inf
    if bool(xp.any(may_overflow)):
        bound = xp.where(xp.any(may_overflow, axis=-1, keepdims=True), xp.inf, bound)
    if float(xp.max(magnitudes)) * v.shape[1] >= r.accumulate.largest / 4:
        bound = xp.where(largest * keys >= r.accumulate.largest / 4, xp.inf, bound)
    if r.partials and float(xp.max(magnitudes)) > r.partials.largest:
        bound = xp.where(largest > r.partials.largest, xp.inf, bound)
    return xp.where(softmax.counts[..., None] > 0, bound, 0.0)


def _errors_of_weights(xp: Namespace, softmax: Softmax, keys: Array, r: Roundings) -> tuple[Array, Array]:
    """Return by how much each weight may be off, once for both sums alike, ``p_j |h_j|``, and once for the sum of the
    values alone.

    The first is of scores, exp and a cast before the weights are summed; the second of a cast after that, of both sums,
    and of what is kept of parts. Weights below a normal range may be flushed.
    """
    of_exp = (16 if r.partials else 8) * r.total_unit + r.exp_error
    relative = (xp.expm1(softmax.error) + of_exp) * (1 + r.cast_of_both_sums) + r.cast_of_both_sums
    in_both = xp.where(softmax.error < _LARGEST_SCORE_ERROR, softmax.weights * relative, 1.0)
    alone = (2 * gamma(xp, keys, r) + r.cast_of_values_sum + r.partials_cast) * softmax.weights
    lost = xp.where(softmax.visible, r.lost_weight, 0.0)
    return (in_both + lost, alone) if r.sums_what_is_cast else (in_both, alone + lost)


def _of_wrong_weights(xp: Namespace, out: Array, wrong: Array, total: Array, v: Array) -> Array:
    """Return a bound of ``sum_j p_j |h_j| |v_j - o|`` for ``wrong = p_j |h_j|``, whose sum is ``total``.

    The way from ``v_j`` to ``o`` goes by 0 or by the column's mean, whichever gives the smaller bound. Both ways are
    products of matrices, where the sum itself would run over three axes.
    """
    mean = xp.mean(v, axis=1, keepdims=True)
    around_zero = xp.matmul(wrong, xp.abs(v)) + total * xp.abs(out)
    return xp.minimum(around_zero, xp.matmul(wrong, xp.abs(v - mean)) + total * xp.abs(out - mean))


def excess_of_shares(xp: Namespace, top: Array, shifted: Array, error: Array, keys: Array, r: Roundings) -> Array:
    """Return by how much the shares ``exp(lse_i - lse)`` of a row's parts may add up to more or less than 1.

    ``top`` is the row's largest score, ``shifted`` its scores less that one, ``error`` by how much they may be off. All
    that is rounded is as large as a log-sum-exp, which the errors move by ``log sum_j p_j exp(e_j)`` at most.
    """
    lse, moved = (_log_sum_exp(xp, x) for x in (shifted, shifted + error))
    return xp.expm1(r.total_unit * (4 * (xp.abs(top + lse) + moved - lse) + 18 * xp.log(keys) + 24))


def _log_sum_exp(xp: Namespace, x: Array) -> Array:
    top = xp.max(x, axis=-1, keepdims=True)
    return top + xp.log(xp.sum(xp.exp(x - top), axis=-1, keepdims=True))


def hull_rounding(keys: Array, r: Roundings) -> Array:
    """Return how far rounding may carry a weighted mean out of the hull of ``keys`` values, relative to the largest."""
    casts = r.cast_of_values_sum + r.partials_cast + r.output.unit
    lost = 0.0 if r.sums_what_is_cast else r.lost_weight * keys
    return (2 * keys + 8) * r.total_unit + casts + lost


def gamma(xp: Namespace, n: Any, r: Roundings) -> Any:
    """Return how far a sum of ``n`` terms may be off, relative to the sum of their magnitudes.

    The bound is Higham's (Accuracy and Stability of Numerical Algorithms, section 3.1), or the probabilistic bound of
    `Precision` where that is smaller.
    """
    unit = r.total_unit
    always = _divide(xp, n * unit)
    if not r.probabilistic:
        return always
    likely = xp.expm1(xp.asarray(r.probabilistic * n**0.5 * unit + n * unit**2 / (1 - unit), dtype=xp.float64))
    return xp.minimum(xp.asarray(always, dtype=xp.float64), likely)


def _divide(xp: Namespace, lost: Any) -> Any:
    """Return ``lost / (1 - lost)``. A sum that may lose all of its terms may be anything."""
    if isinstance(lost, float):
        return lost / (1 - lost) if lost < 1 else _ANYTHING
    return xp.where(lost < 1, lost / xp.where(lost < 1, 1 - lost, 1.0), _ANYTHING)


def _extremes(xp: Namespace, v: Array, softmax: Softmax) -> tuple[Array, Array]:
    """Return the largest and the smallest value that each row sees, by dim; 0 where it sees none."""
    if softmax.visible.ndim == 2:
        return prefix_extremes(xp, v, softmax.counts)
    return masked_extremes(xp, v, softmax.visible, softmax.counts)
