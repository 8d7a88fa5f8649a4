"""Process-wide switches of torch that change what an honest float32 result is: set, never assumed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, reduce

import numpy as np
import torch

# All that `exact_float32` changes, as attributes of `torch.backends`. The last four are of releases of torch that have
# a precision for each kind of product; they come last, since the others change them too.
_SWITCHES = (
    "cudnn.allow_tf32",
    "cuda.matmul.allow_fp16_reduced_precision_reduction",
    "cuda.matmul.allow_bf16_reduced_precision_reduction",
    "cuda.matmul.fp32_precision",
    "mkldnn.matmul.fp32_precision",
    "cudnn.conv.fp32_precision",
    "cudnn.rnn.fp32_precision",
)


def exact_float32() -> None:
    """No TF32, no reduced-precision reductions: the bounds are for the arithmetic that a `Precision` names."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def settle() -> None:
    """What a process that runs many small problems sets first."""
    exact_float32()
    torch.set_num_threads(1)  # the tensors are tiny: threads that wait for each other cost more than they compute
    gc.freeze()  # what is loaded by now stays: collecting it again and again is a tenth of a run


@contextmanager
def settled() -> Iterator[None]:
    """Make torch exact and single-threaded while it lasts, as `settle` does for good, and put everything back: for a
    process that is somebody else's. NumPy is at its defaults meanwhile, since the reference underflows on purpose.
    """
    before = _switches()
    try:
        exact_float32()
        torch.set_num_threads(1)
        with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
            yield
    finally:
        for put_back in before:
            put_back()


def _switches() -> list[Callable[[], None]]:
    """Return what puts each switch back. One that torch refuses to read is left out: where somebody set its parts one
    by one, it has no value, and the parts are switches of their own.
    """
    found: list[Callable[[], None]] = [partial(torch.set_num_threads, torch.get_num_threads())]
    with suppress(RuntimeError):
        found.append(partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()))
    for path in _SWITCHES:
        *owners, name = path.split(".")
        with suppress(AttributeError, RuntimeError):
            owner = reduce(getattr, owners, torch.backends)
            found.append(partial(setattr, owner, name, getattr(owner, name)))
    return found


def recorded_flags() -> dict[str, str]:
    """What was in force, for a report."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only",
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads": str(torch.get_num_threads()),
    }
