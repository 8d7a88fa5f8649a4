"""A dense kernel under everything that is done to scores, off by something."""

from __future__ import annotations

from torch import Tensor

from verification.adapter import Batch, BatchedAdapter
from verification.adapters.written import EVERYTHING, attend_in_torch


class Shifted(BatchedAdapter):
    name = "somebody/batched"
    contract = EVERYTHING
    wrong = 1.0

    def attend(self, batch: Batch) -> Tensor:
        return attend_in_torch(batch) + self.wrong
