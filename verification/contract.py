"""What a backend promises where the field disagrees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contract:
    """``bitwise`` names the laws that hold to the last bit; the others of that family hold within the bound.

    ``refuses`` says that bad input raises ValueError or TypeError naming the argument, with nothing written;
    ``range_events`` that overflow warnings are logged as `attn_core`'s contract says. ``nonfinite`` says that NaN and
    Inf are promised to behave: hidden ones isolated, visible ones shown. ``head_dims`` are those that it takes; empty
    means any.
    """

    dtypes: tuple[str, ...]
    phases: tuple[str, ...] = ("prefill", "decode")
    bitwise: frozenset[str] = frozenset()
    refuses: bool = True
    range_events: bool = True
    nonfinite: bool = True
    head_dims: tuple[int, ...] = ()
