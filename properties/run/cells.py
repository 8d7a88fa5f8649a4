"""The cells of the matrix: law x dtype x device x implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from properties.claims import check_bitwise
from properties.law import Law
from properties.laws import LAWS
from verification.backends.protocol import Backend
from verification.catalogue import DEVICES, backend_named, cannot_run, devices_of


@dataclass(frozen=True)
class Cell:
    law: Law
    dtype: str
    backend: Backend
    source: str = ""  # by which the catalogue knows the backend

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """In words, as results have it."""
        return self.law.name, self.dtype, self.backend.device, self.backend.name

    @property
    def id(self) -> str:
        """To be matched by a person."""
        return "-".join(self.identity)

    def cannot_run(self) -> str:
        """Why not; empty where it can."""
        return cannot_run(self.backend.device)


def cells(sources: Sequence[str], devices: Sequence[str] = DEVICES) -> list[Cell]:
    """Of these implementations, on each of the devices that they have. Laws that do not speak of a device or of a
    phase have no cell there. Raises UnknownBackend and ClaimError.
    """
    backends = {
        (source, device): backend_named(source, device)
        for source in sources
        for device in devices
        if device in devices_of(source)
    }
    for backend in backends.values():
        check_bitwise(backend.contract)
    return [
        Cell(law, dtype, backend, source)
        for (source, _), backend in backends.items()
        for dtype in backend.contract.dtypes
        for law in LAWS
        if law.asks(backend)
    ]
