"""The honest implementations, on which no law may break."""

from __future__ import annotations

from benchmarks.power.written import list_written
from verification import catalogue
from verification.backends.protocol import Backend
from verification.faults import HONEST_SPLIT_DECODE


def list_honest() -> list[Backend]:
    """Return the honest implementations on every device, with those that are written for the bound's sake alone."""
    return [*(backend for backend in catalogue.make_honest() if backend is not HONEST_SPLIT_DECODE), *list_written()]


def list_honest_on_cpu() -> dict[str, Backend]:
    """Return the honest implementations on the CPU by name, with the split decode that some faults are planted in."""
    return {backend.name: backend for backend in catalogue.make_honest() if backend.device == "cpu"}
