"""The cells of the matrix: law x dtype x device x implementation."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from properties.law import Law
from properties.laws import LAWS
from verification.backend import Backend
from verification.backends.attn_core import AttnCore

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Cell:
    law: Law
    dtype: str
    backend: Backend

    @property
    def id(self) -> str:
        return f"{self.law.name}-{self.dtype}-{self.backend.device}-{self.backend.name.replace('/', '.')}"

    def cannot_run(self) -> str:
        """Why not; empty where it can."""
        if self.backend.device == "cuda" and not torch.cuda.is_available():
            return "no CUDA device"
        return ""


def backends() -> list[Backend]:
    """Every implementation on every device."""
    return [AttnCore(device=device) for device in DEVICES]


def cells() -> list[Cell]:
    """Laws that do not speak of a device have no cell there."""
    return [
        Cell(law, dtype, backend)
        for backend in backends()
        for dtype in backend.contract.dtypes
        for law in LAWS
        if backend.device in law.devices
    ]
