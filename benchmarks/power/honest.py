"""The implementations that nothing may be said against."""

from __future__ import annotations

from verification import catalogue
from verification.backends.protocol import Backend
from verification.faults import HONEST_SPLIT_DECODE


def list_honest() -> list[Backend]:
    """On every device."""
    return [backend for backend in catalogue.every() if backend is not HONEST_SPLIT_DECODE]


def list_honest_on_cpu() -> dict[str, Backend]:
    """By name, with the split decode that some faults are planted in."""
    return {backend.name: backend for backend in catalogue.every() if backend.device == "cpu"}
