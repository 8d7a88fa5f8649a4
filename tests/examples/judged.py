"""A layer inside a model, held to the harness's bound at every call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from attn_core import Attention, get_context
from verification.backends.observe import to_numpy
from verification.oracle.expectation import Expectation, expect
from verification.oracle.judge import judge_output
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.inputs import Array, Inputs

# What the model is given on: the layer's own output, or one made of what the reference says, [T, H, D] in float64.
Answer = Callable[[Array, Expectation], Array]


def own(output: Array, _expectation: Expectation) -> Array:
    return output


def exact(_output: Array, expectation: Expectation) -> Array:
    return expectation.exact


def edge(seed: int) -> Answer:
    """Every element as far off as it may be, up or down at random."""
    rng = np.random.default_rng(seed)

    def answer(_output: Array, expectation: Expectation) -> Array:
        return expectation.exact + expectation.bound * rng.choice((-1.0, 1.0), size=expectation.exact.shape)

    return answer


class Judged(nn.Module):
    """Raises `Violation` where an element of ``layer``'s output is out of bound; ``scores`` are its largest err/bound,
    a call each.
    """

    def __init__(self, layer: Attention, precision: Precision, answer: Answer = own) -> None:
        super().__init__()
        self.layer, self.precision, self.answer = layer, precision, answer
        self.scores: list[float] = []

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        inputs = inputs_of(self.layer, q, k, v)  # the caches as they are before the call
        output = self.layer(q, k, v)
        expectation = expect(inputs, self.precision)
        found = to_numpy(output).reshape(q.shape)
        self.scores.append(judge_output(found, expectation).ratio)
        if self.answer is own:
            return output
        return torch.from_numpy(self.answer(found, expectation)).to(output.dtype).view_as(output)


def inputs_of(layer: Attention, q: Tensor, k: Tensor, v: Tensor) -> Inputs:
    """A call of the layer as the reference is given one."""
    context = get_context()
    arrays = {
        name: np.empty(0, np.int64) if tensor is None else to_numpy(tensor)
        for name in ("cu_seqlens_q", "cu_seqlens_k", "slot_mapping", "context_lens", "block_tables")
        for tensor in (getattr(context, name),)
    }
    prefill = context.is_prefill
    problem = Problem(
        phase="prefill" if prefill else "decode",
        dtype=str(q.dtype).removeprefix("torch."),
        num_heads=layer.num_heads,
        num_kv_heads=layer.num_kv_heads,
        head_dim=layer.head_dim,
        query_lens=tuple(np.diff(arrays["cu_seqlens_q"]).tolist()) if prefill else (1,) * len(q),
        key_lens=tuple((np.diff(arrays["cu_seqlens_k"]) if prefill else arrays["context_lens"]).tolist()),
        block_size=layer.k_cache.shape[1],
        num_blocks=layer.k_cache.shape[0],
    )
    tokens = {"q": q, "k": k, "v": v, "k_cache": layer.k_cache, "v_cache": layer.v_cache}
    return Inputs(problem=problem, **{name: to_numpy(tensor) for name, tensor in tokens.items()}, **arrays)
