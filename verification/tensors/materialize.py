"""Materialisation: a problem's numbers as tensors on a device, guarded and poisoned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from verification.problem.misuse import Misuse
from verification.problem.table import TENSORS, ByName
from verification.tensors.arena import Bytes, Span
from verification.tensors.inputs import Inputs
from verification.tensors.layout import plan_arena


@dataclass(frozen=True, kw_only=True)
class Tensors(ByName[Tensor, Tensor | None]):
    """All that a backend is given: the tensors of `table.TENSORS`, None where the call has none of that name."""

    arena: Tensor = field(repr=False)
    """The memory in which all of them lie, byte by byte, guards and poison included, on their device."""

    def held(self, *names: str) -> tuple[Tensor, ...]:
        """Return the tensors of these names. Raises ValueError where the call does not have one of them."""
        found: dict[str, Tensor | None] = {name: getattr(self, name) for name in names}
        for name in (name for name, x in found.items() if x is None):
            raise ValueError(f"{name}: is not given in this call")
        return tuple(x for x in found.values() if x is not None)


@dataclass(frozen=True)
class Arena:
    """Everything that the harness keeps of a call, which no backend sees."""

    inputs: Inputs
    tensors: Tensors
    """The tensors that are handed over."""
    before: Bytes
    """The arena's bytes when it was handed over."""
    spans: dict[str, Span] = field(repr=False)
    """The place of each tensor in the arena, by name."""


def materialize(inputs: Inputs, device: str) -> Arena:
    """Return an arena that is written on the host and moved to ``device`` as a whole: one allocation, one copy."""
    plan = plan_arena(inputs)
    host, view = plan.fill()
    for name, span in plan.spans.items():
        span.on_host(view)[...] = getattr(inputs, name)
    before = view.copy()
    arena = host if device == "cpu" else host.to(torch.device(device))
    return Arena(inputs, view_tensors(plan.spans, arena), before, plan.spans)


def view_tensors(spans: dict[str, Span], arena: Tensor) -> Tensors:
    """Return the tensors that lie in ``arena`` at these places."""
    held = {name: spans[name].on_device(arena) if name in spans else None for name in TENSORS}
    return Tensors(arena=arena, **held)  # type: ignore[arg-type]


def apply_misuse(misuse: Misuse, arena: Arena) -> Arena:
    """Return ``arena`` with the argument that the misuse names spoiled."""
    spoiled = misuse.spoil(getattr(arena.tensors, misuse.argument))
    return replace(arena, tensors=replace(arena.tensors, **{misuse.argument: spoiled}))
