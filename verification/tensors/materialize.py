"""A problem's numbers on a device, guarded and poisoned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from verification.problem.misuse import Misuse
from verification.tensors.arena import Bytes, Span
from verification.tensors.inputs import Inputs
from verification.tensors.layout import TENSOR_NAMES, plan_arena


@dataclass(frozen=True)
class Tensors:
    """What a backend is given. Shapes are those of `Inputs`; what the phase does not use is None.

    ``before`` is the arena's bytes as they were handed over; ``arena`` is the arena itself, on the device.
    """

    inputs: Inputs
    arena: Tensor
    before: Bytes
    spans: dict[str, Span] = field(repr=False)
    q: Tensor
    k: Tensor
    v: Tensor
    k_cache: Tensor | None
    v_cache: Tensor | None
    cu_seqlens_q: Tensor | None
    cu_seqlens_k: Tensor | None
    slot_mapping: Tensor | None
    context_lens: Tensor | None
    block_tables: Tensor | None
    mask: Tensor | None = None
    sinks: Tensor | None = None

    def held(self, *names: str) -> tuple[Tensor, ...]:
        """Those of these names. Raises ValueError where the phase has none of them."""
        found: dict[str, Tensor | None] = {name: getattr(self, name) for name in names}
        for name in (name for name, x in found.items() if x is None):
            raise ValueError(f"{name}: is not given in a {self.inputs.problem.phase}")
        return tuple(x for x in found.values() if x is not None)


def materialize(inputs: Inputs, device: str) -> Tensors:
    """One allocation and one copy: the arena is written on the host and moved as a whole."""
    plan = plan_arena(inputs)
    host, view = plan.fill()
    for name, span in plan.spans.items():
        span.on_host(view)[...] = getattr(inputs, name)
    before = view.copy()
    arena = host if device == "cpu" else host.to(torch.device(device))
    tensors = {name: plan.spans[name].on_device(arena) if name in plan.spans else None for name in TENSOR_NAMES}
    return Tensors(inputs=inputs, arena=arena, before=before, spans=plan.spans, **tensors)  # type: ignore[arg-type]


def apply_misuse(misuse: Misuse, tensors: Tensors) -> Tensors:
    """Return `tensors` with the argument that the misuse names spoiled."""
    return replace(tensors, **{misuse.argument: misuse.spoil(getattr(tensors, misuse.argument))})
