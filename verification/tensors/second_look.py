"""A second look at the memory of a call: what has changed since the call returned."""

from __future__ import annotations

import numpy as np
import torch

from verification.tensors.arena import Bytes

# Seconds after which memory is looked at again: more than the 20 ms that a thread waits whose turn does not come.
LINGER = 0.03


def find_changed(arena: torch.Tensor, memory: Bytes) -> Bytes | None:
    """Return a copy of the arena's bytes if they are no longer ``memory``, else None."""
    now: Bytes = arena.cpu().numpy()
    return None if np.array_equal(now, memory) else now.copy()


def wait_for_device(device: str) -> None:
    """Wait for all streams of a device: a copy to the host waits for one of them."""
    if device == "cuda":
        torch.cuda.synchronize()
