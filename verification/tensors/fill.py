"""Fills of the tensors: each is one kind of numbers, drawn as one choice, and made from a seed."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from verification.problem.formats import Format
from verification.problem.problem import ScoreFill, ValueFill

Array = NDArray[Any]
Shape = tuple[int, ...]

# Typical |scaled score| of the fills that are about the size of scores: past +-100; past 1e4, which warnings are about
# (all below zero); and with an unscaled product past 65504, the largest number of float16.
_STEEP, _NEGATIVE, _HUGE = 150.0, 4e4, 2e5


def fill_scores(kind: str, rng: np.random.Generator, q: Shape, k: Shape, fmt: Format) -> tuple[Array, Array]:
    """Return queries and keys ``[tokens, heads, D]``, chosen for the scores that they give, all finite in ``fmt``."""
    head_dim = q[-1]
    match kind:
        case "ones":
            return np.ones(q), np.ones(k)
        case "normal":
            return _normal(rng, q), _normal(rng, k)
        case "zeros":  # every score 0: the weights are uniform, however long the context
            return np.zeros(q), _normal(rng, k)
        case "onehot":
            return 4.0 * _one_hot(rng, q), 4.0 * _one_hot(rng, k)
        case "steep":
            size = _STEEP**0.5
            return size * _normal(rng, q), size * _normal(rng, k)
        case "negative":
            size = (_NEGATIVE / head_dim**0.5) ** 0.5
            return size * (1 + rng.random(q)), -size * (1 + rng.random(k))
        case "huge":
            size = (_HUGE / head_dim**0.5) ** 0.5
            return size * _normal(rng, q), size * _normal(rng, k)
        case "tiny":
            return _tiny(fmt) * _normal(rng, q), _tiny(fmt) * _normal(rng, k)
        case "outlier":
            return _with_outlier(rng, _normal(rng, q), 300.0), _with_outlier(rng, _normal(rng, k), 300.0)
        case "integers":
            return _integers(rng, q), _integers(rng, k)
    raise ValueError(f"score_fill: {kind!r} (must be one of {', '.join(get_args(ScoreFill))})")


def fill_values(kind: str, rng: np.random.Generator, shape: Shape, fmt: Format) -> Array:
    """Return values ``[tokens, heads, D]``, all of them finite in ``fmt``."""
    match kind:
        case "ones":
            return np.ones(shape)
        case "index":  # tokens hold 0 to 127, exact in every format: a wrong key can be read off the output
            return np.broadcast_to(np.arange(shape[0]).reshape(-1, 1, 1) % 128, shape)
        case "normal":
            return _normal(rng, shape)
        case "zeros":
            return np.zeros(shape)
        case "onehot":
            return _one_hot(rng, shape)
        case "huge":
            size = fmt.largest / 4 if fmt.name == "float16" else 2.0**100
            return np.clip(size * _normal(rng, shape).astype(np.float64), -fmt.largest, fmt.largest)
        case "tiny":
            return _tiny(fmt) * _normal(rng, shape)
        case "outlier":
            return _with_outlier(rng, _normal(rng, shape), 1e4)
        case "integers":
            return _integers(rng, shape)
    raise ValueError(f"value_fill: {kind!r} (must be one of {', '.join(get_args(ValueFill))})")


def _normal(rng: np.random.Generator, shape: Shape) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def _one_hot(rng: np.random.Generator, shape: Shape) -> Array:
    hot = np.zeros(shape, np.float32)
    np.put_along_axis(hot, rng.integers(shape[-1], size=(*shape[:-1], 1)), 1.0, axis=-1)
    return hot


def _integers(rng: np.random.Generator, shape: Shape) -> Array:
    """Return small integers, about three in four of them 0."""
    return rng.integers(-2, 3, shape) * (rng.random(shape) < 1 / 3)


def _with_outlier(rng: np.random.Generator, x: Array, factor: float) -> Array:
    """Return ``x`` with one of its numbers multiplied by ``factor``."""
    if x.size:
        x.reshape(-1)[rng.integers(x.size)] *= np.float32(factor)
    return x


def _tiny(fmt: Format) -> np.float32 | float:
    """Return the border between normal and subnormal numbers, for float64 that of float32."""
    return max(fmt.smallest_normal, 2.0**-126)
