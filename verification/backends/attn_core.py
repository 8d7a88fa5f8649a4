"""`attn_core.Attention` as a backend."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from attn_core import Attention, Context, attention_context
from attn_core.choice import Implementation
from verification.backends.contract import Contract
from verification.backends.profiles import FLASH_ON_CPU, FLUSHING_FLASH, SPLIT_FLASH, SPLIT_ON_CPU
from verification.backends.snippet import Snippet
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.problem.formats import DTYPES
from verification.problem.table import NUMBERED, given_to
from verification.tensors.materialize import Tensors

# Laws that hold to the last bit for eager, which computes each sequence alone, in the same steps whatever is beside it.
CLAIMS = frozenset(
    {
        "poison_is_invisible",
        "block_ids_do_not_matter",
        "batch_does_not_matter",
        "the_future_does_not_matter",
        "gqa_equals_expanded_mha",
        "strides_do_not_matter",
        "index_dtype_does_not_matter",
        "same_call_same_bits",
        "other_shapes_do_not_matter",
        "values_scale_exactly",
    }
)
# Fewer than eager's: kernels choose their blocks by the longest sequence, so a longer neighbour may move a rounding.
SDPA_CLAIMS = frozenset(
    {
        "poison_is_invisible",
        "block_ids_do_not_matter",
        "index_dtype_does_not_matter",
        "same_call_same_bits",
        "other_shapes_do_not_matter",
    }
)
SDPA_CONTRACT = Contract(dtypes=DTYPES, bitwise=SDPA_CLAIMS, uncomputed=("prefill_attn_",))
# The roundings of any kernel that torch may choose on that device.
SDPA_PRECISION = {"cpu": FLASH_ON_CPU, "cuda": FLUSHING_FLASH}
# No event is owed for ``decode_k_history_``: keys are read in place, and the history of a sequence is never gathered.
FLEX_CONTRACT = replace(SDPA_CONTRACT, uncomputed=("prefill_attn_", "decode_k_history_"))
# (H, G, D, S): one size alone, since FlexAttention on CUDA compiles a kernel for each, which takes seconds.
FLEX_SIZES = ((4, 2, 64, 32),)
FAST: tuple[Implementation, ...] = ("sdpa", "flex", "auto")
FLEX_PRECISION = {"cpu": SPLIT_ON_CPU, "cuda": SPLIT_FLASH}


@dataclass(frozen=True)
class AttnCore:
    """The layer as an engine uses it: caches assigned, context set, one forward for each call."""

    device: str = "cpu"
    implementation: Implementation = "eager"
    contract: Contract = field(default=Contract(dtypes=DTYPES, bitwise=CLAIMS), repr=False)
    precision: Precision = field(default=Precision(), repr=False)
    layers: dict[tuple[object, ...], Attention] | None = field(default=None, repr=False, compare=False)
    """Layers by what they were made with, where calls share them; None where each call has one of its own."""

    @property
    def name(self) -> str:
        return f"attn_core/{self.implementation}"

    def on(self, device: str) -> AttnCore:
        return replace(self, device=device) if self.implementation == "eager" else fast(self.implementation, device)

    def prepare(self, problem: Problem) -> EngineCall:
        layers = {} if self.layers is None else self.layers
        sizes = problem.num_heads, problem.head_dim, problem.num_kv_heads, problem.block_size
        made_with = *sizes, problem.causal_alignment, problem.on_invalid
        if made_with not in layers:
            layers[made_with] = make_layer(problem, implementation=self.implementation)
        return EngineCall(layers[made_with], problem)

    def share_state(self) -> AttnCore:
        """Return this backend with one layer for all its calls of equal sizes and conventions."""
        return replace(self, layers={})

    def snippet(self, problem: Problem) -> Snippet:
        """Return `EngineCall` as source code, with those options that are not the layer's defaults."""
        sizes = ("num_heads", "head_dim", "num_kv_heads", "block_size")
        options = {"causal_alignment": "top_left", "on_invalid": "drop", "max_heads": 32, "implementation": "eager"}
        chosen = {
            "causal_alignment": problem.causal_alignment,
            "on_invalid": problem.on_invalid,
            "max_heads": max(32, problem.num_heads),
            "implementation": self.implementation,
        }
        given = {name: getattr(problem, name) for name in sizes}
        given |= {name: value for name, value in chosen.items() if value != options[name]}
        prefill = problem.phase == "prefill"
        lengths = ["max_seqlen_q", "max_seqlen_k"] if prefill else []
        names = [*(name for name in given_to(problem) if name not in NUMBERED), *lengths]
        context = ", ".join([f"is_prefill={prefill}", *(f"{name}={name}" for name in names)])
        assign = "layer.k_cache, layer.v_cache = k_cache, v_cache\n" if problem.num_blocks else ""
        step = f"context = Context({context})\nwith attention_context(context):\n    return layer(q, k, v)"
        return Snippet(
            imports="from attn_core import Attention, Context, attention_context",
            make=f"Attention({', '.join(f'{name}={value!r}' for name, value in given.items())})",
            call=assign + step,
        )


def fast(implementation: Implementation, device: str = "cpu") -> AttnCore:
    """Return one of the fast implementations, with its contract and its precision on ``device``."""
    if implementation == "sdpa" or (implementation == "auto" and device == "cpu"):
        return AttnCore(device, implementation, SDPA_CONTRACT, SDPA_PRECISION[device])
    contract = FLEX_CONTRACT if device == "cpu" else replace(FLEX_CONTRACT, compiled_sizes=FLEX_SIZES)
    return AttnCore(device, implementation, contract, FLEX_PRECISION[device])


def make_layer(problem: Problem, kind: type[Attention] = Attention, **options: Any) -> Attention:
    """Return a layer of class ``kind`` with the problem's sizes and conventions."""
    return kind(
        problem.num_heads,
        problem.head_dim,
        problem.num_kv_heads,
        problem.block_size,
        max_heads=max(32, problem.num_heads),
        causal_alignment=problem.causal_alignment,  # type: ignore[arg-type]
        on_invalid=problem.on_invalid,
        **options,
    )


class EngineCall:
    """The engine's side of a call: caches are assigned at the first call, and again only when other ones come."""

    def __init__(self, layer: Attention, problem: Problem) -> None:
        self.layer, self._problem = layer, problem
        self._assigned: Tensor | None = None

    def __call__(self, tensors: Tensors) -> Tensor:
        if tensors.k_cache is not None and tensors.k_cache is not self._assigned:
            assert tensors.v_cache is not None
            self.layer.k_cache, self.layer.v_cache = tensors.k_cache, tensors.v_cache
            self._assigned = tensors.k_cache
        problem = self._problem
        context = Context(
            is_prefill=problem.phase == "prefill",
            cu_seqlens_q=tensors.cu_seqlens_q,
            cu_seqlens_k=tensors.cu_seqlens_k,
            max_seqlen_q=max(problem.query_lens, default=0),
            max_seqlen_k=max(problem.key_lens, default=0),
            slot_mapping=tensors.slot_mapping,
            context_lens=tensors.context_lens,
            block_tables=tensors.block_tables,
        )
        with attention_context(context):
            output: Tensor = self.layer(tensors.q, tensors.k, tensors.v)
        return output
