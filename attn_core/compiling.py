"""How FlexAttention is compiled: a bounded number of times, and never run past that in another way."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor


@cache
def compiled(function: FunctionType, *configuration: Any) -> Callable[..., Any]:
    """``function`` for one configuration, under a name and with a code object of its own: by them dynamo counts
    recompilations, and guesses which sizes will change. Past its limit, and where the graph would break, it raises.
    """
    name = "_".join([function.__name__, *map(str, configuration)])
    own = FunctionType(function.__code__.replace(co_name=name), function.__globals__, name)
    return torch.compile(own, fullgraph=True, dynamic=False)


def padded(x: Tensor, length: int, columns: int = 0, value: int = 0) -> Tensor:
    """Contiguous, since strides would be compiled for; with ``value`` behind, also in a second dimension."""
    wide = max(0, columns - x.shape[1]) if columns else 0
    if len(x) == length and not wide:
        return x[:].contiguous()  # an object of its own, which may be marked
    ends = [0, 0] * (x.dim() - 1) + [0, length - len(x)]
    if wide:
        ends[1] = wide
    return torch.nn.functional.pad(x, ends, value=value)
