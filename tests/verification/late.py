"""Backends that answer rightly, and leave a thread behind that writes to the memory of the call later."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from verification.backends.attn_core import AttnCore
from verification.backends.protocol import Call, Returned, Wrapped
from verification.problem import Problem
from verification.tensors.materialize import Tensors


@dataclass(frozen=True)
class Late(Wrapped):
    """Writes a byte, ``delay`` seconds after the call: the first of a tensor, or of the arena where it has none."""

    delay: float = 0.0
    tensor: str = "v_cache"
    phases: tuple[str, ...] = ("prefill", "decode")

    def prepare(self, problem: Problem) -> Call:
        inner = self.inner.prepare(problem)
        if problem.phase not in self.phases:
            return inner

        def call(tensors: Tensors) -> Returned:
            returned = inner(tensors)
            threading.Thread(target=self._write, args=(tensors,), daemon=True).start()
            return returned

        return call

    def _write(self, tensors: Tensors) -> None:
        time.sleep(self.delay)
        target: Tensor | None = getattr(tensors, self.tensor)
        if target is None or not target.numel():
            return
        with torch.inference_mode():
            target.as_strided((1,), (1,)).view(torch.uint8)[0] ^= 1


# Right after a call has returned, or on a busy machine a little later, it may still be seen by the first look; then it
# is told by the ordinary laws.
AT_ONCE, SOON, LATER = (Late(AttnCore(), delay) for delay in (0.0, 0.005, 0.02))
AFTER_A_PREFILL = Late(AttnCore(), 0.01, phases=("prefill",))
IN_A_GUARD = Late(AttnCore(), 0.01, "arena")
HONEST = Late(AttnCore(), 0.01, "mask")  # which no call of it has
