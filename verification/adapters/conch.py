"""Stack AV's conch: paged attention in Triton, on CUDA, and on a processor in Triton's interpreter."""

from __future__ import annotations

import os
from copy import copy
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from verification.adapter import (
    INPUT,
    Contract,
    NotPortable,
    PagedAdapter,
    Precision,
    Problem,
    Tensors,
    Weaker,
    promising,
)

_DECODES, _STORE = "conch/kernels/attention/paged_attention.py", "conch/kernels/vllm/reshape_and_cache.py"
_VARLEN = "conch/kernels/attention/varlen_attention.py"
# (H, G, D, S): groups that are padded to a power of two and to the 16 rows of a product, heads that are padded, blocks
# of the least keys that a product takes and of more. Each is compiled for, in seconds, so there are few.
_SIZES = ((4, 2, 64, 16), (8, 1, 128, 32), (32, 8, 128, 16), (6, 2, 96, 64), (3, 3, 256, 16))
# Numbers of a head lie side by side, a slot is one that its token owns, or negative, and a sequence has all of its
# blocks.
_NEVER_GIVEN = (
    "layout: strided",
    *("slots: too large", "slots: past 32 bits", "slots: twice"),
    *("blocks: -1", "blocks: < -1", "blocks: too large", "blocks: table too short"),
)
# All that lies between two products is in the output's format: sums, and what is kept of the splits. Weights are summed
# after their cast.
_ROUNDINGS = Precision(accumulate=INPUT, scores=INPUT, probabilities=INPUT, partials=INPUT, weights_summed="after")
# The interpreter has no `libdevice.tanh`, and takes the bits of a bfloat16 for an integer. A program takes it
# milliseconds, so that problems are small.
_IN_INTERPRETER: dict[str, Any] = {
    "dtypes": ("float16", "float32"),
    "compiled_sizes": tuple(size for size in _SIZES if size[0] <= 4 and size[2] <= 128),
}
_LARGE = tuple(f"large: {phase}, {size}" for phase in ("decode", "chunked") for size in ("kernel", "engine"))


class Operations(NamedTuple):
    """The functions of `conch.ops` that an adapter calls."""

    reshape_and_cache: Any
    paged_attention: Any
    varlen_attention: Any


@cache
def load_operations() -> Operations:
    """Return conch's functions. Raises ImportError without conch or Triton."""
    paged, varlen = (import_module(f"conch.ops.attention.{name}") for name in ("paged_attention", "varlen_attention"))
    store = import_module("conch.ops.vllm.reshape_and_cache")
    return Operations(store.reshape_and_cache, paged.paged_attention, varlen.varlen_attention)


def _promise(*phases: str) -> Contract:
    return promising(
        "float16",
        "bfloat16",
        phases=phases,
        compiled_sizes=_SIZES,
        scoring=frozenset({"scale", "odd_scale", "softcap"}),
        undefined=frozenset(_NEVER_GIVEN),
        blind="undefined",
    )


def _lines(source: str, kept: str) -> tuple[Weaker, ...]:
    """Return the lines that both kernels have, about declarations that the file ``source`` explains."""
    allowed = "allowed_in_out_dtypes = [torch.float32, torch.float16, torch.bfloat16]"
    power, padding = "must be power of two!", "If slot index is negative its a padding token that should be ignored"
    here = "intermediates are in the output's format"
    return (
        Weaker("dtypes", allowed, source, "`tl.dot` multiplies float32 in TF32, which no precision says", ("float32",)),
        Weaker("dtypes", allowed, source, "it has no others", ("float64",)),
        Weaker("compiled_sizes", power, source, "each of them is compiled for, so a few are asked"),
        Weaker("undefined", "assert key.stride(2) == 1", _STORE, "refused where it is strict", _NEVER_GIVEN[:1]),
        Weaker("undefined", padding, _STORE, "a slot is its token's own or negative", _NEVER_GIVEN[1:4]),
        Weaker("undefined", "", source, "a sequence has all of its blocks", _NEVER_GIVEN[4:]),
        Weaker("scoring", "", source, "it has no such argument", ("alibi", "sinks", "window")),
        Weaker("blind", "", source, "every sequence has a token"),
        Weaker("nonfinite", "", source, "nothing is said of NaN and Inf"),
        Weaker("accumulate", kept, source, here),
        Weaker("scores", kept, source, here),
        Weaker("probabilities", kept, source, here),
        Weaker("partials", kept, source, here),
        Weaker("weights_summed", "", source, "the weights are cast before they are summed"),
    )


class Paged(PagedAdapter):
    """Decodes by `paged_attention`, behind `reshape_and_cache`.

    Index tensors are int32, as in vLLM and in conch's own tests; slots are int64.
    """

    name = "conch/paged_attention"
    contract = _promise("decode")
    weaker = _lines(_DECODES, "Get type that we should be using for accumulating results/intermediate calculations")
    precision = _ROUNDINGS
    device = "cuda"

    def on(self, device: str) -> Self:
        """Return the adapter on CUDA, or on a processor where ``TRITON_INTERPRET=1`` is set; the contract is then of
        what the interpreter can do. Raises NotPortable elsewhere.
        """
        if device != "cpu" or self.device == "cpu":
            return super().on(device)
        if os.environ.get("TRITON_INTERPRET") != "1":
            raise NotPortable(f"device: 'cpu' ({self.name} runs on cuda, and on cpu where TRITON_INTERPRET=1 is set)")
        made, promised = copy(self), self.contract
        undefined, scoring = promised.undefined.union(_LARGE), promised.scoring - {"softcap"}
        limited = replace(promised, undefined=undefined, scoring=scoring, **_IN_INTERPRETER)
        vars(made).update(device="cpu", contract=limited)
        return made

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        with np.errstate(all="ignore"):  # the interpreter computes by NumPy what a kernel masks away later
            return self._store_and_attend(problem, tensors)

    def _store_and_attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        k_cache, v_cache, slots = tensors.held("k_cache", "v_cache", "slot_mapping")
        load_operations().reshape_and_cache(tensors.k, tensors.v, k_cache, v_cache, slots.to(torch.int64))
        if not len(tensors.q):
            return tensors.q
        contexts, tables = (x.to(torch.int32).contiguous() for x in tensors.held("context_lens", "block_tables"))
        return self.call(problem, tensors.q, (k_cache, v_cache), contexts, tables)

    def call(
        self, problem: Problem, q: Tensor, caches: tuple[Tensor, Tensor], contexts: Tensor, tables: Tensor
    ) -> Tensor:
        """Return attention ``[T, H, D]`` over caches that hold the new tokens; index tensors are int32."""
        scoring: dict[str, Any] = {"scale": problem.scale, "softcap": problem.scoring.softcap}
        out: Tensor = load_operations().paged_attention(q, *caches, tables, contexts, **scoring)
        return out


class Varlen(Paged):
    """Decodes and chunked prefills by `varlen_attention`, "Prefill/decode attention with paged KV cache".

    Its documentation does not say where the diagonal of a chunk lies. The reference in its tests has it bottom-right,
    as FlashAttention's varlen function, which they compare it with.
    """

    name = "conch/varlen_attention"
    contract = _promise("decode", "chunked")
    weaker = _lines(
        _VARLEN,
        "Use dtype of output as the dtype for intermediate values/calculations (except for those that must be done in",
    )

    def call(
        self, problem: Problem, q: Tensor, caches: tuple[Tensor, Tensor], contexts: Tensor, tables: Tensor
    ) -> Tensor:
        starts = torch.tensor([0, *problem.query_lens], device=q.device).cumsum(0).to(torch.int32)
        longest_q, longest_k = max(problem.query_lens), max(problem.key_lens)
        scoring: dict[str, Any] = {"scale": problem.scale, "softcap": problem.scoring.softcap, "causal": True}
        out: Tensor = load_operations().varlen_attention(
            q, *caches, starts, longest_q, contexts, longest_k, tables, **scoring
        )
        return out
