"""Steps from the product of a query and a key to its score, where kernels offer more than a scale."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MASK_AXES = tuple("".join(axes) for n in range(5) for axes in combinations("bhqk", n))
# Each may be promised by a contract; a scale of 0 or less apart from others, since some refuse it.
FEATURES = ("scale", "odd_scale", "softcap", "window", "alibi", "sinks", "bool_mask", "float_mask", "blind_rows")


@dataclass(frozen=True)
class Scoring:
    """The steps from the product s of a query and a key to its weight: times ``scale``; capped; less alibi's penalty;
    plus a mask; hidden by a mask or behind a window; then the softmax, with a sink beside it.
    """

    scale: float | None = None
    """Factor of the product; None is 1/sqrt(D)."""
    softcap: float = 0.0
    """Cap c, 0 or more: a score becomes ``c * tanh(s / c)``; 0 caps nothing."""
    alibi: bool = False
    """True if `slopes` times the distance of the positions of query and key is taken away, for each head."""
    mask: Literal["", "bool", "float"] = ""
    """Kind of the mask ``[B, H, Lq, Lk]``: a "bool" one shows a key where it is true; a "float" one is added, and its
    -Inf hides; empty is none."""
    mask_axes: str = "bhqk"
    """Axes on which the mask is as wide as the call, letters of "bhqk" in order; it is 1 wide on the others."""
    window: int = 0
    """Number of keys that a query sees of those that it would see: the last ones, with its own position; 0 is all."""
    sinks: bool = False
    """True if a logit a head joins the softmax of each row, whose weight goes nowhere."""
    blind_rows: bool = False
    """True if the mask shows some rows nothing."""

    @property
    def features(self) -> frozenset[str]:
        """Those that are in force."""
        named = {f.name for f in fields(self) if f.name != "mask_axes" and getattr(self, f.name) != f.default}
        own = {"mask": f"{self.mask}_mask", "scale": "scale" if (self.scale or 0.0) > 0 else "odd_scale"}
        return frozenset(own.get(name, name) for name in named)

    @property
    def shapes_rows(self) -> bool:
        """True if a row is more than a softmax of scaled products over the first so many keys."""
        return bool(self.features - {"scale", "odd_scale"})

    @property
    def asks_positions(self) -> bool:
        """True if it matters how far apart a query and a key are."""
        return bool(self.window) or self.alibi

    def mask_shape(self, batch: int, heads: int, queries: int, keys: int) -> tuple[int, ...]:
        sizes = dict(zip("bhqk", (batch, heads, queries, keys), strict=True))
        return tuple(size if axis in self.mask_axes else 1 for axis, size in sizes.items())


PLAIN = Scoring()


def slopes(num_heads: int) -> Array:
    """``2^(-8 (h + 1) / H)`` in float32: Press et al., Train Short, Test Long, 2022, section 3."""
    return np.exp2(-8.0 * (np.arange(num_heads) + 1) / num_heads).astype(np.float32)


def positions(num_queries: int, num_keys: int, alignment: str) -> Array:
    """``[Lq]``: the position of each query among the keys."""
    return np.arange(num_queries) + (0 if alignment == "top_left" else num_keys - num_queries)
