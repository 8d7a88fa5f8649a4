"""The implementations that nothing may be said against."""

from __future__ import annotations

from verification import catalogue
from verification.backends.protocol import Backend
from verification.faults import HONEST_SPLIT_DECODE


def every() -> list[Backend]:
    """On every device."""
    return [backend for backend in catalogue.make_honest() if backend is not HONEST_SPLIT_DECODE]


def on_cpu() -> dict[str, Backend]:
    """By name, with the split decode that some faults are planted in."""
    return {backend.name: backend for backend in catalogue.make_honest() if backend.device == "cpu"}
