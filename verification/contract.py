"""What a backend promises where the field disagrees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contract:
    """``bitwise`` names the laws that hold to the last bit; the others of that family hold within the bound.

    ``refuses`` says that bad input raises ValueError or TypeError naming the argument, with nothing written;
    ``range_events`` that overflow warnings are logged as `attn_core`'s contract says.
    """

    dtypes: tuple[str, ...]
    phases: tuple[str, ...] = ("prefill", "decode")
    bitwise: frozenset[str] = frozenset()
    refuses: bool = True
    range_events: bool = True
