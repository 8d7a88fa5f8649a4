"""The memory of the latest calls in a backend's process, which is looked at once more when the calls have returned."""

from __future__ import annotations

import time
from collections import deque

from torch import Tensor

from verification.tensors.arena import Bytes
from verification.tensors.second_look import LINGER, find_changed, wait_for_device

# Calls whose memory a process keeps for the second look, so many that a look every 0.1 s misses none; and for how long.
_MOST, _FORGOTTEN_AFTER = 256, 10 * LINGER


class Remembered:
    """The memory of the latest calls, as it was when they returned."""

    def __init__(self) -> None:
        self._kept = deque[tuple[float, int, Tensor, Bytes]](maxlen=_MOST)

    def keep(self, number: int, arena: Tensor, memory: Bytes) -> None:
        """Keep the arena of a call, and forget those that nobody has asked about for long."""
        now = time.monotonic()
        while self._kept and now - self._kept[0][0] > _FORGOTTEN_AFTER:
            self._kept.popleft()
        self._kept.append((now, number, arena, memory))

    def look(self) -> dict[int, Bytes]:
        """Return what has changed since, by the number of the call's request; forget what is old enough."""
        if self._kept:
            wait_for_device(self._kept[0][2].device.type)
        now = time.monotonic()
        looked = [(number, find_changed(arena, memory)) for _, number, arena, memory in self._kept]
        while self._kept and now - self._kept[0][0] >= LINGER:
            self._kept.popleft()
        return {number: changed for number, changed in looked if changed is not None}
