"""Compilation for FlexAttention: a bounded number of times, and an error instead of an uncompiled run beyond."""

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
    """Return ``function`` such that `torch.compile` does not look into it.

    The work of an attention layer depends on the engine's numbers, and each of them would be compiled for. The layer
    compiles for itself the parts that are worth it.
    """
    disable: Any = torch.compiler.disable
    return cast(Function, disable(function))


def drop_storage_offset(x: Tensor) -> Tensor:
    """Return the numbers of ``x`` as a tensor that begins where its storage begins.

    The compiler would compile once for tensors with an offset and once for tensors without.
    """
    if not x.storage_offset():
        return x
    from_dlpack: Any = torch.utils.dlpack.from_dlpack
    start: Tensor = from_dlpack(torch.utils.dlpack.to_dlpack(x.detach()))  # type: ignore[attr-defined]
    return start


def mark_varying(x: Tensor, *dims: int) -> Tensor:
    """Return ``x`` as a new tensor object whose sizes in ``dims`` the compiler leaves open."""
    own = drop_storage_offset(x)[:]
    for dim in dims:
        torch._dynamo.mark_dynamic(own, dim)
    return own


@cache
def compile_for(function: FunctionType, *configuration: Any) -> Callable[..., Any]:
    """Return ``function`` compiled for one configuration, under a name and with a code object of its own.

    By name and code object dynamo counts recompilations, and guesses which sizes will change. Past its limit, and where
    the graph would break, the compiled function raises.
    """
    name = "_".join([function.__name__, *map(str, configuration)])
    own = FunctionType(function.__code__.replace(co_name=name), function.__globals__, name)
    return torch.compile(own, fullgraph=True, dynamic=False, options={"cpp_wrapper": _can_launch_from_cpp()})


@cache
def _can_launch_from_cpp() -> bool:
    """Return True if C++ may launch the kernels, which takes half as long as launching them from Python.

    This needs a C++ compiler, and a torch for which it was tried: 2.11 or later.
    """
    return torch.__version__ >= "2.11" and shutil.which(os.environ.get("CXX", "g++")) is not None


def pad(x: Tensor, length: int, columns: int = 0, value: int = 0) -> Tensor:
    """Return ``x`` contiguous, padded by ``value`` to ``length`` rows and, unless it is 0, to ``columns`` columns.

    The result is contiguous because strides would be compiled for.
    """
    wide = max(0, columns - x.shape[1]) if columns else 0
    if len(x) == length and not wide:
        return drop_storage_offset(x.contiguous())
    ends = [0, 0] * (x.dim() - 1) + [0, length - len(x)]
    if wide:
        ends[1] = wide
    return torch.nn.functional.pad(x, ends, value=value)
