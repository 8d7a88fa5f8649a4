"""A test whether all numbers of many tensors are finite, which is faster than looking at each number."""

from __future__ import annotations

from functools import reduce
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor

from attn_core.eager import accumulation_dtype


def checksum(*tensors: Tensor) -> Float[Tensor, ""]:
    """Return a number that is finite only if all numbers of the tensors are.

    The number is made of sums or of extremes, whichever are computed sooner. Sums may overflow, so it can be Inf
    although all numbers are finite.
    """
    some = [x for x in tensors if x.numel()]
    if some and some[0].is_cuda:  # three launches for all of them
        return torch.stack(torch._foreach_norm(some, inf)).amax()
    return reduce(torch.add, map(_checksum, tensors))


def _checksum(x: Tensor) -> Float[Tensor, ""]:
    """Return the checksum of one tensor: the range of 16-bit numbers, the sum of others."""
    dtype = accumulation_dtype(x.dtype)
    if x.dtype.itemsize == 2 and x.numel():
        low, high = torch.aminmax(x)
        return high.to(dtype) - low.to(dtype)
    return x.sum(dtype=dtype)
