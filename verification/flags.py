"""Process-wide switches of torch that change what an honest float32 result is: set, never assumed."""

from __future__ import annotations

import torch


def exact_float32() -> None:
    """No TF32, no reduced-precision reductions: the bounds are for the arithmetic that a `Precision` names."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def recorded_flags() -> dict[str, str]:
    """What was in force, for a report."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only",
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "threads": str(torch.get_num_threads()),
    }
