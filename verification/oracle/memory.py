"""What the arena holds after a right call."""

from __future__ import annotations

from verification.tensors.arena import Bytes
from verification.tensors.inputs import Inputs
from verification.tensors.materialize import Tensors


def expected_memory(tensors: Tensors, stored: Inputs) -> Bytes:
    """As before, but for the slots that were written."""
    after = tensors.before.copy()
    for name in {"k_cache", "v_cache"} & tensors.spans.keys():
        tensors.spans[name].on_host(after)[...] = getattr(stored, name)
    return after
