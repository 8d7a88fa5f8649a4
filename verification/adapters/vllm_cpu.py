"""vLLM's paged attention on a processor: its own store, and one kernel for both decodes and chunked prefills."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from verification.adapter import PagedAdapter, Precision, Problem, Tensors, Weaker, promising, slopes
from verification.adapters.vllm_kernels import Paged

DTYPES = ("float16", "bfloat16", "float32")
# All arithmetic is in float32. Some processors cast the result to bfloat16 by an instruction (VCVTNEPS2BF16) that takes
# subnormal numbers for 0.
FLUSHING = Precision(flushing=True)
# `CPUAttentionBackend` has blocks of "MultipleOf(32)" tokens, and these of the head_dims that are drawn.
_SIZES = tuple((*heads, dim, size) for heads, dim, size in product(((1, 1), (4, 2), (8, 1)), (64, 80, 128), (32, 64)))
# A slot is one that its token owns, or -1 (PAD_SLOT_ID), and the scheduler gives each sequence all of its blocks and at
# least one token. Nothing is said of other numbers, nor of NaN in the values of slots that are not in use
# (docs/findings.md, 14).
_NEVER_GIVEN = (
    "behind a window: bad blocks",
    *("slots: < -1", "slots: too large", "slots: past 32 bits", "slots: twice"),
    *("blocks: -1", "blocks: < -1", "blocks: too large", "blocks: table too short"),
    "sequences: 0",
)
_NO_CONTEXT, _STRIDED, _NAN = (
    ("keys: 0", "sequences: no keys between others"),
    "layout: strided",
    "poison around v: nan",
)
_SOURCE = "vllm/v1/attention/backends/cpu_attn.py"
_ITS_OWN = "the scheduler gives a sequence all of its blocks, and a token its own slot or none"


class Attention(PagedAdapter):
    """`CPUAttentionBackendImpl.forward`, without the engine around it.

    All of its index tensors but the slots are int32, and are converted here. Models set a scale, a softcap, slopes and
    sinks; a window of W is "the last W tokens", a query's own included.
    """

    name = "vllm/cpu"
    contract = promising(
        *DTYPES,
        phases=("decode", "chunked"),
        compiled_sizes=_SIZES,
        scoring=frozenset({"scale", "odd_scale", "softcap", "window", "alibi", "sinks"}),
        undefined=frozenset((*_NEVER_GIVEN, *_NO_CONTEXT, _STRIDED, _NAN)),
        blind="undefined",
    )
    precision = FLUSHING
    weaker = (
        Weaker("dtypes", "torch.float16, torch.bfloat16, torch.float32,", _SOURCE, "it has no others", ("float64",)),
        Weaker("compiled_sizes", "return [MultipleOf(32)]", _SOURCE, "blocks and heads of these sizes alone"),
        Weaker("undefined", "PAD_SLOT_ID = -1", "vllm/v1/attention/backends/utils.py", _ITS_OWN, _NEVER_GIVEN),
        Weaker("undefined", "", _SOURCE, "findings 18", _NO_CONTEXT),
        Weaker("undefined", "", _SOURCE, "it is refused: 'key.stride(2) == 1'", (_STRIDED,)),
        Weaker("undefined", "", _SOURCE, "findings 14", (_NAN,)),
        Weaker("blind", "", _SOURCE, "findings 18"),
        Weaker("nonfinite", "", _SOURCE, "nothing is said of NaN and Inf, findings 14"),
        Weaker("flushing", "", _SOURCE, "a processor's bfloat16 instructions take subnormal numbers for 0"),
    )

    def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
        k_cache, v_cache, slots = tensors.held("k_cache", "v_cache", "slot_mapping")
        contexts, tables = tensors.held("context_lens", "block_tables")
        cache = Paged(k_cache, v_cache)
        cache.store(tensors.k, tensors.v, slots.to(torch.int64))
        starts = torch.tensor([0, *problem.query_lens]).cumsum(0)
        rules, sinks = problem.scoring, tensors.sinks
        if sinks is not None and sinks.dtype != torch.bfloat16:  # `forward` does the same
            sinks = sinks.to(torch.float32)
        of_heads = torch.from_numpy(slopes(problem.num_heads)) if rules.alibi else None
        where = starts, contexts, tables
        out = cache.attend(tensors.q, *where, problem.scale, rules.window or -1, rules.softcap, of_heads, sinks)
        cache.copy_to(k_cache, v_cache)
        return out
