"""How FlexAttention is compiled: a bounded number of times, and never run past that in another way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def opaque(function: Function) -> Function:
    """Not looked into by `torch.compile`: what an attention layer does depends on the engine's numbers, and each would
    be compiled for. What is worth it compiles itself.
    """
    disable: Any = torch.compiler.disable
    return cast(Function, disable(function))


def drop_storage_offset(x: Tensor) -> Tensor:
    """The same numbers as a tensor that begins where its storage does: whether one does would be compiled for."""
    if not x.storage_offset():
        return x
    from_dlpack: Any = torch.utils.dlpack.from_dlpack
    start: Tensor = from_dlpack(torch.utils.dlpack.to_dlpack(x.detach()))  # type: ignore[attr-defined]
    return start


def mark_varying(x: Tensor, *dims: int) -> Tensor:
    """``x`` as an object of its own, whose sizes in these dimensions are not compiled for."""
    own = drop_storage_offset(x)[:]
    for dim in dims:
        torch._dynamo.mark_dynamic(own, dim)
    return own


@cache
def compile_for(function: FunctionType, *configuration: Any) -> Callable[..., Any]:
    """``function`` for one configuration, under a name and with a code object of its own: by them dynamo counts
    recompilations, and guesses which sizes will change. Past its limit, and where the graph would break, it raises.
    """
    name = "_".join([function.__name__, *map(str, configuration)])
    own = FunctionType(function.__code__.replace(co_name=name), function.__globals__, name)
    return torch.compile(own, fullgraph=True, dynamic=False, options={"cpp_wrapper": _can_launch_from_cpp()})


@cache
def _can_launch_from_cpp() -> bool:
    """Whether C++ may launch the kernels, which takes it half as long as Python: with a compiler for it, and a torch
    for which that was tried.
    """
    return torch.__version__ >= "2.11" and shutil.which(os.environ.get("CXX", "g++")) is not None


def pad(x: Tensor, length: int, columns: int = 0, value: int = 0) -> Tensor:
    """Contiguous, since strides would be compiled for; with ``value`` behind, also in a second dimension."""
    wide = max(0, columns - x.shape[1]) if columns else 0
    if len(x) == length and not wide:
        return drop_storage_offset(x.contiguous())
    ends = [0, 0] * (x.dim() - 1) + [0, length - len(x)]
    if wide:
        ends[1] = wide
    return torch.nn.functional.pad(x, ends, value=value)
