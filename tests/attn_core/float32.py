"""How a process may ask torch for float32 products that are faster than exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

HAS_SWITCHES = hasattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision")  # torch 2.9


def _set_everywhere() -> None:
    torch.backends.fp32_precision = "tf32"


def _set_on_the_cpu() -> None:
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def _set_on_cuda() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


_WAYS: dict[str, Callable[[], None]] = {
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "cuda": _set_on_cuda,
    **({"everywhere": _set_everywhere, "cpu": _set_on_the_cpu} if HAS_SWITCHES else {}),
}
FASTER = pytest.mark.parametrize("how", _WAYS)


@contextmanager
def faster_products(how: str) -> Iterator[None]:
    """Ask in one of the ways, and take it back."""
    try:
        _WAYS[how]()
        yield
    finally:
        if HAS_SWITCHES:
            torch.backends.fp32_precision = "none"
        torch.set_float32_matmul_precision("highest")


def product_precisions() -> list[str]:
    """What is in force for products on the CPU and on CUDA, as far as torch tells them apart."""
    if HAS_SWITCHES:
        return [torch.backends.mkldnn.matmul.fp32_precision, torch.backends.cuda.matmul.fp32_precision]
    return [torch.get_float32_matmul_precision()]


def exact_on_the_cpu() -> bool:
    return product_precisions()[0] in ("ieee", "highest")
