"""Which bytes of an arena belong to whom, worked out element by element."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from verification.tensors.arena import Span


def offsets(span: Span) -> list[int]:
    """Every byte of every element."""
    starts = (
        span.offset + sum(i * stride for i, stride in zip(index, span.strides, strict=True))
        for index in product(*map(range, span.shape))
    )
    return [start + byte for start in starts for byte in range(span.dtype.itemsize)]


def owners(spans: dict[str, Span], size: int) -> NDArray[np.int64]:
    """How many tensors each byte belongs to."""
    count = np.zeros(size, np.int64)
    for span in spans.values():
        np.add.at(count, offsets(span), 1)
    return count
