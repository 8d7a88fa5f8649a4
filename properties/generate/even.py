"""Strategies for tuples of choices, each of which is one even draw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import hypothesis.strategies as st

# Hypothesis draws evenly among up to 256 options (the flat part of its `INTEGERS_DISTRIBUTION`), and prefers the first
# of more.
_MOST_OPTIONS = 256


def one_of(*options: Sequence[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy for tuples with one choice of each of the ``options``.

    It makes one draw, since a draw costs as much as any other step of a small problem. Tuples are sorted by their
    distance from the tuple of all first choices, so that they shrink towards it; `properties.shrink.reduce` does the
    rest.
    """
    assert prod(map(len, options)) <= _MOST_OPTIONS
    indices = product(*(range(len(choices)) for choices in options))
    ordered = sorted(indices, key=lambda index: (sum(index), max(index)))
    return st.sampled_from([tuple(choices[i] for choices, i in zip(options, index, strict=True)) for index in ordered])


def half_normal_fills(
    score_fills: Sequence[str], value_fills: Sequence[str], index_dtypes: Sequence[str]
) -> st.SearchStrategy[Any]:
    """Return a strategy for (score fill, value fill, index dtype) that draws normal numbers at least half of the time.

    Sums of ones, of zeros or along a one-hot vector are the same in any order, so such numbers hide whether a kernel
    adds in another order. Each other pair of fills has one of the index dtypes, so that one even draw holds all.
    """
    places = sorted(product(range(len(score_fills)), range(len(value_fills))), key=lambda at: (sum(at), max(at)))
    mixed = [(score_fills[i], value_fills[j], index_dtypes[(i + j) % len(index_dtypes)]) for i, j in places]
    if "normal" in score_fills and "normal" in value_fills:
        mixed += [("normal", "normal", index_dtypes[n % len(index_dtypes)]) for n in range(len(mixed))]
    assert len(mixed) <= _MOST_OPTIONS
    return st.sampled_from(mixed)
