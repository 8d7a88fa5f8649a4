"""What becomes of a product of a query and a key before the softmax, where kernels offer more than a scale."""

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
    """What is done, in this order: times ``scale`` (None: 1/sqrt(D)); ``softcap * tanh(s / softcap)``, 0 for none; with
    ``alibi`` less `slopes` times the distance of the positions; with a ``"float"`` mask plus that, whose -Inf hides.

    A ``"bool"`` mask shows where it is true. Masks are ``[B, H, Lq, Lk]``, 1 wide on the axes that ``mask_axes`` does
    not name; one with ``blind_rows`` shows some rows nothing. Of the keys that a query would see, ``window`` leaves the
    last so many, its own position's included; 0 leaves all. With ``sinks`` a logit a head joins each row, whose weight
    goes nowhere.
    """

    scale: float | None = None
    softcap: float = 0.0
    alibi: bool = False
    mask: Literal["", "bool", "float"] = ""
    mask_axes: str = "bhqk"
    window: int = 0
    sinks: bool = False
    blind_rows: bool = False

    @property
    def features(self) -> frozenset[str]:
        """Those that are in force."""
        named = {f.name for f in fields(self) if f.name != "mask_axes" and getattr(self, f.name) != f.default}
        own = {"mask": f"{self.mask}_mask", "scale": "scale" if (self.scale or 0.0) > 0 else "odd_scale"}
        return frozenset(own.get(name, name) for name in named)

    @property
    def shapes_rows(self) -> bool:
        """Whether a row is more than a softmax of scaled products over the first so many keys."""
        return bool(self.features - {"scale", "odd_scale"})

    @property
    def asks_positions(self) -> bool:
        """Whether it matters how far apart a query and a key are."""
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
