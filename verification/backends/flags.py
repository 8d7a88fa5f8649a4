"""Process-wide switches of torch that change what an honest float32 result is: set, never assumed."""

from __future__ import annotations

import gc

import torch


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


def recorded_flags() -> dict[str, str]:
    """What was in force, for a report."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only",
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads": str(torch.get_num_threads()),
    }
