"""Kernels that take their process with them, on one call of many."""

from __future__ import annotations

import os
import time

import torch
from torch import Tensor

from tests.verification.paged_kernel import Honest
from verification.adapter import DenseAdapter, promising
from verification.problem import Problem
from verification.tensors.materialize import Tensors


class DiesOfTwo(Honest):
    """Sequences."""

    name = "somebody/dies"

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        if len(tensors.held("context_lens")[0]) == 2:
            os.abort()
        return super().attend(problem, tensors)


class DiesOfSquares(DenseAdapter):
    """Of two rows and more."""

    name = "somebody/dies of squares"
    contract = promising("float32", head_dims=(16,))

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        if causal:
            os._exit(7)
        return torch.softmax(q @ k.mT * scale, dim=-1) @ v


class Waits(DiesOfSquares):
    name = "somebody/waits"

    def dense(self, q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float) -> Tensor:
        while causal:
            time.sleep(1.0)
        return super().dense(q, k, v, causal, scale)


class DiesLater(Honest):
    """Of its second call, whatever that is."""

    name = "somebody/dies later"
    calls = 0

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        DiesLater.calls += 1
        if DiesLater.calls == 2:
            os.abort()
        return super().attend(problem, tensors)
