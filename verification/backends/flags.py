"""Process-wide switches of torch that change an honest float32 result: they are set here, never assumed."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, reduce

import numpy as np
import torch

from verification.backends.devices import describe_devices, list_cuda_devices

# All that `exact_float32` changes, as attributes of `torch.backends`. The last four are a precision for each kind of
# product, in recent releases of torch; the first three change them too, so they are put back last.
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
    """Switch TF32 and reduced-precision reductions off: the bounds suppose the arithmetic that a `Precision` names."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def settle() -> None:
    """Prepare this process for many small problems: exact float32, one thread, and no collection of what is loaded."""
    exact_float32()
    torch.set_num_threads(1)  # tensors are tiny: threads that wait for each other cost more time than they save
    gc.freeze()  # modules that are loaded by now stay for good: collecting them again and again took a tenth of a run
    gc.enable()  # which `attn-verify` switches off while they are loaded


@contextmanager
def settled() -> Iterator[None]:
    """Make torch exact and single-threaded for a while, and put everything back: `settle` for somebody else's process.

    NumPy's handling of floating-point errors is at its defaults meanwhile, since the reference underflows on purpose.
    """
    before = _remember_switches()
    try:
        exact_float32()
        torch.set_num_threads(1)
        with np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
            yield
    finally:
        for put_back in before:
            put_back()


def _remember_switches() -> list[Callable[[], None]]:
    """Return functions that put the switches back to their present values.

    A switch that torch refuses to read is left out: it has no value of its own after somebody set its parts one by one,
    and the parts are switches of this list.
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
    """Return torch's version, devices and switches as they are now, for a report."""
    return {
        "torch": torch.__version__,
        "device": describe_devices(list_cuda_devices()),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads": str(torch.get_num_threads()),
    }
