"""Whether numbers are finite, asked of many tensors at once and sooner than by looking at each number."""

from __future__ import annotations

from functools import reduce
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from attn_core.eager import accumulation_dtype


def checksum(*tensors: Tensor) -> Float[Tensor, ""]:
    """Finite only where everything is: of sums or of extremes, whichever are had sooner. Sums may overflow."""
    some = [x for x in tensors if x.numel()]
    if some and some[0].is_cuda:  # in three launches
        return torch.stack(torch._foreach_norm(some, inf)).amax()
    return reduce(torch.add, map(_checksum, tensors))


def _checksum(x: Tensor) -> Float[Tensor, ""]:
    dtype = accumulation_dtype(x.dtype)
    if x.dtype.itemsize == 2 and x.numel():
        low, high = torch.aminmax(x)
        return high.to(dtype) - low.to(dtype)
    return x.sum(dtype=dtype)
