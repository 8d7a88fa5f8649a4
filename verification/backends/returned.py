"""Check of what a kernel returned, told in words about the kernel's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from verification.oracle.violation import BadOutput


def check_returned(name: str, x: Any, shape: Sequence[int] | None = None, axes: str = "") -> torch.Tensor:
    """Return ``x``. Raises BadOutput where it is no tensor, or not one of ``shape``, whose ``axes`` the error names."""
    if not isinstance(x, torch.Tensor):
        rule = f"a tensor {axes}" if axes else "a tensor, or a dict of tensors by name"
        raise BadOutput(f"{name}: the kernel returned {_describe(x)} (must be {rule})")
    if shape is not None and tuple(x.shape) != tuple(shape):
        raise BadOutput(f"{name}: the kernel returned a tensor {list(x.shape)} (must be {axes}, {list(shape)})")
    return x


def _describe(x: Any) -> str:
    """Return an object in a few words: its type, and those of its parts."""
    match x:
        case None:
            return "None"
        case tuple() | list():
            parts = ", ".join(type(part).__name__ for part in x[:4])
            return f"a {type(x).__name__} of {len(x)} ({parts}{', ...' if len(x) > 4 else ''})"
        case np.ndarray():
            return f"a NumPy array {x.dtype} {list(x.shape)}"
    return f"a {type(x).__name__}"
