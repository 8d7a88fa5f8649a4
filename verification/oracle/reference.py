"""The exact answer, dense and naive, in float64.

The same code serves NumPy, which is independent of torch's arithmetic, and torch in float64 on a GPU: ``xp`` is the
array-API namespace of either. `verification.oracle.bound` says by how much an honest answer may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verification.oracle.bound import Softmax, excess_of_shares, output_bound, scores_bound, underflow_of_scores
from verification.oracle.precision import Roundings
from verification.oracle.rows import Rows, add_sinks, apply_scoring

Namespace = Any
Array = Any  # an array of `xp`; the array API has no type for it yet


@dataclass(frozen=True)
class Attended:
    """The exact answer to one sequence."""

    outputs: dict[str, tuple[Array, Array]]
    """By name, an output and its bound, heads before queries: ``[H, Lq, ...]``. A bound is 0 where NaN or Inf is
    demanded, and inf where anything goes.
    """
    scores: Array
    """``[H, Lq, Lk]``: scaled products, before anything else is done to them."""
    scores_bound: Array
    """``[H, Lq, Lk]``: by how much they may be off."""
    weights: Array
    """``[H, Lq, Lk]``: 0 where a key is hidden. With sinks there is one more key, the sink."""

    @property
    def out(self) -> Array:
        """Return the exact output, ``[H, Lq, D]``."""
        return self.outputs["out"][0]

    @property
    def bound(self) -> Array:
        """Return the bound of `out`."""
        return self.outputs["out"][1]


def attend(
    xp: Namespace,
    q: Array,
    k: Array,
    v: Array,
    counts: Array,
    scale: float,
    roundings: Roundings,
    rows: Rows | None = None,
) -> Attended:
    """Return the exact answer to ``q [H, Lq, D]``, ``k`` and ``v [H, Lk, D]`` in float64, and its bound.

    Query ``a`` sees the first ``counts[a]`` keys, or the keys that ``rows`` shows it.
    """
    k_transposed = xp.permute_dims(k, (0, 2, 1))
    scores = scale * xp.matmul(q, k_transposed)
    product = xp.matmul(xp.abs(q), xp.abs(k_transposed))
    underflow = underflow_of_scores(xp, q, k, scale, roundings)
    of_scores = scores_bound(xp, scores, product, q.shape[-1], scale, roundings, underflow)
    of_products = scores, of_scores
    if not (k.shape[1] and q.shape[1]):
        return Attended({"out": (xp.zeros_like(q), xp.zeros_like(q))}, scores, of_scores, scores)

    visible = xp.arange(k.shape[1], device=k.device) < counts[:, None]
    if rows is not None:
        scores, of_scores = apply_scoring(xp, scores, of_scores, rows, roundings)
        scores, of_scores, v, visible = add_sinks(xp, scores, of_scores, v, rows, roundings)
        counts = xp.sum(xp.astype(visible, xp.int64), axis=-1)
    shifted = xp.where(visible, scores, -xp.inf)
    top = xp.max(shifted, axis=-1, keepdims=True)
    shifted = shifted - top
    exps = xp.exp(shifted)
    weights = xp.where(visible, exps / xp.sum(exps, axis=-1, keepdims=True), 0.0)
    is_finite = xp.isfinite(v)
    finite = xp.where(is_finite, v, 0.0)
    out = xp.matmul(weights, finite)

    length = xp.astype(xp.where(counts > 0, counts, 1), xp.float64)[..., None]
    of_scores_and_shift = of_scores + roundings.unit * xp.abs(shifted)
    if roundings.partials:
        largest = xp.max(xp.where(visible & xp.isfinite(scores), xp.abs(scores), 0.0), axis=-1, keepdims=True)
        of_scores_and_shift = of_scores_and_shift + 4 * roundings.unit * (largest + xp.log(length))
    error = xp.where(visible & xp.isfinite(shifted), of_scores_and_shift, 0.0)
    excess = excess_of_shares(xp, top, shifted, error, length, roundings) if roundings.merges_by_lse else 0.0
    softmax = Softmax(weights, error, visible, counts, excess)
    bound = output_bound(xp, out, softmax, finite, roundings)
    if not bool(xp.all(is_finite)):
        out, bound = _put_in_nonfinite(xp, out, bound, softmax, v, roundings)
    undefined = xp.any(visible, axis=-1) & xp.all((scores == -xp.inf) | ~visible, axis=-1)  # all scores are -Inf: 0 / 0
    bound = xp.where(undefined[..., None], xp.inf, bound)
    bound = xp.where(xp.isnan(out) & (bound != xp.inf), 0.0, bound)
    return Attended({"out": (out, bound)}, *of_products, weights)


def _put_in_nonfinite(
    xp: Namespace, out: Array, bound: Array, softmax: Softmax, v: Array, r: Roundings
) -> tuple[Array, Array]:
    """Return ``out`` and ``bound`` with the NaN and Inf that ``v`` brings.

    A visible NaN must appear. A visible Inf must appear where its weight cannot vanish; elsewhere the product may be
    0 * Inf, and the element may be anything.
    """
    floor = 2 * max(r.accumulate.smallest_normal, r.probabilities.smallest_normal)
    least = softmax.weights * xp.exp(-2 * xp.max(softmax.error, axis=-1, keepdims=True))
    strong = softmax.visible & (least >= floor)
    weak = softmax.visible & (least < floor)
    seen = softmax.visible | (softmax.weights > 0)  # for every head
    nan, above, below, unsure = (
        xp.matmul(xp.astype(mask, xp.float64), xp.astype(kind, xp.float64)) > 0
        for mask, kind in ((seen, xp.isnan(v)), (strong, v == xp.inf), (strong, v == -xp.inf), (weak, xp.isinf(v)))
    )
    out = xp.where(above, xp.inf, xp.where(below, -xp.inf, out))
    out = xp.where(nan | (above & below), xp.nan, out)
    bound = xp.where(nan | above | below, 0.0, bound)
    return out, xp.where(unsure & ~nan, xp.inf, bound)
