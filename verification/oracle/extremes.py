"""The largest and the smallest of the values that each row of an attention sees, by dim. Nothing is rounded."""

from __future__ import annotations

from typing import Any

Namespace = Any
Array = Any
# Most numbers of the values that a few rows see, where each row sees any keys: in float64 they stay in a cache.
_MOST_AT_ONCE = 2**17


def prefix_extremes(xp: Namespace, v: Array, counts: Array) -> tuple[Array, Array]:
    """Return the extremes of the first ``counts[a]`` rows of ``v``, each ``[H, Lq, D]`` (or ``[H, 1, D]``: of all)."""
    if bool(xp.all(counts == v.shape[1])):
        return xp.max(v, axis=1, keepdims=True), xp.min(v, axis=1, keepdims=True)
    last = xp.where(counts > 0, counts - 1, 0)
    return _last_of(xp, v, last), -_last_of(xp, -v, last)


def _last_of(xp: Namespace, v: Array, last: Array) -> Array:
    """Return the largest of the first rows of ``v [H, Lk, D]`` up to each of ``last``."""
    if hasattr(xp, "cummax"):
        return xp.take(xp.cummax(v, 1).values, last, axis=1)
    return xp.take(xp.maximum.accumulate(v, axis=1), last, axis=1)


def masked_extremes(xp: Namespace, v: Array, visible: Array, counts: Array) -> tuple[Array, Array]:
    """Return the extremes of the rows of ``v [H, Lk, D]`` that ``visible [H, Lq, Lk]`` shows, 0 where it shows none;
    ``counts [H, Lq]`` says how many those are.
    """
    found = _between(xp, v, visible, counts)
    if found is None and bool(xp.all(visible[..., -1])):  # a sink stands behind the keys of a span
        found, last = _between(xp, v[:, :-1], visible[..., :-1], counts - 1), v[:, -1:]
        if found is not None:
            has_others = (counts > 1)[..., None]
            found = tuple(
                xp.where(has_others, choose(x, last), last)
                for choose, x in zip((xp.maximum, xp.minimum), found, strict=True)
            )
    high, low = _any_extremes(xp, v, visible) if found is None else found
    seen = (counts > 0)[..., None]
    return xp.where(seen, high, 0.0), xp.where(seen, low, 0.0)


def _between(xp: Namespace, v: Array, visible: Array, counts: Array) -> tuple[Array, Array] | None:
    """Return the extremes where each row sees a span of keys, else None."""
    position = xp.arange(visible.shape[2], device=v.device)
    first = xp.min(xp.where(visible, position, visible.shape[2]), axis=-1)
    end = xp.max(xp.where(visible, position + 1, 0), axis=-1)
    if not bool(xp.all((end - first == counts) | (counts == 0))):
        return None
    return _largest_between(xp, v, first, counts), -_largest_between(xp, -v, first, counts)


def _largest_between(xp: Namespace, v: Array, first: Array, counts: Array) -> Array:
    """Return the largest of ``counts`` rows of ``v`` from ``first`` on, both ``[H, Lq]``: of two spans whose length is
    the largest power of two that fits, and that cover them.
    """
    heads = xp.arange(v.shape[0], device=v.device)[:, None]
    last = xp.where(counts > 0, first + counts - 1, 0)
    start = xp.where(counts > 0, first, 0)
    out, step = xp.maximum(v[heads, start], v[heads, last]), 1
    keys = v.shape[1]
    while 2 * step <= keys:  # after each step a row holds the largest of the 2 * step rows that begin with it
        v = xp.maximum(v[:, : v.shape[1] - step], v[:, step:])
        step *= 2
        fits = counts >= step
        one, other = xp.where(fits, start, 0), xp.where(fits, last - step + 1, 0)
        out = xp.where(fits[..., None], xp.maximum(v[heads, one], v[heads, other]), out)
        if not bool(xp.any(fits)):
            break
    return out


def _any_extremes(xp: Namespace, v: Array, visible: Array) -> tuple[Array, Array]:
    """Return the extremes for any mask, a few rows at a time."""
    step = max(1, _MOST_AT_ONCE // max(1, v.shape[0] * v.shape[1] * v.shape[2]))
    found = []
    for row in range(0, visible.shape[1], step):
        seen, values = visible[:, row : row + step, :, None], v[:, None]
        highest = xp.max(xp.where(seen, values, -xp.inf), axis=2)
        found.append((highest, xp.min(xp.where(seen, values, xp.inf), axis=2)))
    highs, lows = zip(*found, strict=True)
    return xp.concat(highs, axis=1), xp.concat(lows, axis=1)
