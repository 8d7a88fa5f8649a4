"""Cells of the matrix: law x dtype x device x implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from properties.laws import LAWS
from properties.laws.claims import check_bitwise
from properties.laws.law import Law
from verification.backends.documented import AS_DOCUMENTED
from verification.backends.protocol import Backend
from verification.catalogue import DEVICES, cannot_run
from verification.isolation.isolated import end_process, find_devices, open_backend


@dataclass(frozen=True)
class Cell:
    law: Law
    dtype: str
    backend: Backend
    source: str = ""
    """Name under which the catalogue has the backend."""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Return law, dtype, device and implementation, as results have them."""
        return self.law.name, self.dtype, self.backend.device, self.backend.name

    @property
    def id(self) -> str:
        """Return the text in which a person's ``--only`` is looked for."""
        return "-".join(self.identity)

    def cannot_run(self) -> str:
        """Return why not; empty where it can."""
        return cannot_run(self.backend.device)


def cells(
    sources: Sequence[str],
    devices: Sequence[str] = DEVICES,
    crash_after: float | None = None,
    *,
    sharp: bool = False,
) -> list[Cell]:
    """Return the cells of these implementations on each of the devices that they have. A law that a contract rules out
    has no cell. ``crash_after`` is that of `open_backend`: where it is None foreign modules are imported here. Where
    ``sharp``, those that document a sharper precision than they declare have cells of their own, in which they are
    judged by it.

    Raises UnknownBackend and ClaimError.
    """
    asked = [*sources, *(source + AS_DOCUMENTED for source in sources)] if sharp else sources
    backends = {
        (source, device): open_backend(source, device, crash_after)
        for source in asked
        for device in devices
        if device in find_devices(source, crash_after)
    }
    for (source, device), backend in list(backends.items()):
        declared = backends.get((source.removesuffix(AS_DOCUMENTED), device), backend)
        if backend is not declared and backend.precision == declared.precision:
            del backends[source, device]  # it would be asked and judged as before
    for backend in backends.values():
        end_process(backend)  # it was needed to know the contract: other processes will ask the backend
        check_bitwise(backend.contract)
    return [
        Cell(law, dtype, backend, source)
        for (source, _), backend in backends.items()
        for dtype in backend.contract.dtypes
        for law in LAWS
        if law.asks(backend, dtype)
    ]
