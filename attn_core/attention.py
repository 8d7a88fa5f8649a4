"""The attention layer of an LLM engine over a paged KV cache."""

from __future__ import annotations

from math import sqrt

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attn_core import eager, flex, flex_prefill, gathered, sdpa
from attn_core.cache import ON_INVALID, OnInvalid, store_kvcache
from attn_core.checks import (
    check_blocks,
    check_cache,
    check_context,
    check_flag,
    check_phase,
    check_size,
    check_slots,
    check_tokens,
    check_values,
    refuse,
)
from attn_core.choice import IMPLEMENTATIONS, Implementation, choose
from attn_core.compiling import opaque
from attn_core.context import Context, get_context
from attn_core.heads import repeat_kv
from attn_core.masks import CAUSAL_ALIGNMENTS, CausalAlignment, causal_mask
from attn_core.metadata import HostMetadata
from attn_core.notices import check_numeric_range, one_transfer, report_dropped


class Attention(nn.Module):
    """Causal grouped-query attention: ragged prefill over ``cu_seqlens``, decode over ``block_tables``.

    ``num_heads`` (H), ``num_kv_heads`` (G) and ``head_dim`` (D) are the model's sizes. ``block_size`` (S) is used where
    the layer allocates its own cache; a cache ``[N, S, G, D]`` that an engine assigns has its own block size.
    ``max_heads`` is the largest H that is allowed where kv heads are repeated. ``causal_alignment`` is the corner that
    the diagonal of the mask goes through when a prefill has more keys than queries, or fewer. ``on_invalid="drop"``
    leaves out slots and blocks outside the cache with a warning, ``"raise"`` refuses them. ``check_values=False`` skips
    the checks that would wait for an accelerator. ``implementation`` is ``"eager"`` (written to be read), ``"sdpa"``
    (vectorised), ``"flex"`` (compiled FlexAttention that reads the cache in place) or ``"auto"`` (see
    `attn_core.choice.choose`).

    Raises TypeError if a size is no integer, and ValueError if one is below 1, if ``num_heads`` is not a multiple of
    ``num_kv_heads`` or above ``max_heads`` where kv heads are repeated, and if an option is unknown.
    """

    def __init__(
        self,
        num_heads: int,
        head_dim: int,
        num_kv_heads: int,
        block_size: int = 256,
        *,
        max_heads: int = 32,
        causal_alignment: CausalAlignment = "top_left",
        on_invalid: OnInvalid = "drop",
        check_values: bool = True,
        implementation: Implementation = "eager",
    ) -> None:
        super().__init__()
        sizes = {"num_heads": num_heads, "head_dim": head_dim, "num_kv_heads": num_kv_heads, "block_size": block_size}
        for name, size in (sizes | {"max_heads": max_heads}).items():
            check_size(name, size)
        check_flag("check_values", check_values)
        if num_heads % num_kv_heads:
            refuse("num_heads", num_heads, f"must be a multiple of num_kv_heads, {num_kv_heads}")
        for name, option, known in (
            ("causal_alignment", causal_alignment, CAUSAL_ALIGNMENTS),
            ("on_invalid", on_invalid, ON_INVALID),
            ("implementation", implementation, IMPLEMENTATIONS),
        ):
            if option not in known:
                refuse(name, repr(option), f"must be one of {', '.join(known)}")
        self.num_heads, self.head_dim, self.num_kv_heads = num_heads, head_dim, num_kv_heads
        self.num_rep = num_heads // num_kv_heads
        if self.num_rep > 1 and num_heads > max_heads:
            refuse("num_heads", num_heads, f"must be at most max_heads={max_heads} where kv heads are repeated")
        self.scale = 1.0 / sqrt(head_dim)
        self.block_size, self.max_heads = block_size, max_heads
        self.causal_alignment: CausalAlignment = causal_alignment
        self.on_invalid: OnInvalid = on_invalid
        self.check_values = check_values
        self.implementation: Implementation = implementation
        self.k_cache = self.v_cache = torch.empty(0)

    @opaque
    def forward(
        self, q: Float[Tensor, "T H D"], k: Float[Tensor, "T_k G D"], v: Float[Tensor, "T_k G D"]
    ) -> Float[Tensor, "T H*D"]:
        """Store the new keys and values and return the attention of one engine step.

        The rest of the input is in `get_context`. Raises ValueError or TypeError that names the offending argument;
        then nothing has been written.
        """
        context = get_context()
        metadata = self._validate(context, q, k, v)
        with one_transfer():
            if not self.k_cache.numel() and context.num_kvcache_blocks is not None:
                self._init_cache(context.num_kvcache_blocks, q)
            output = self._step(context, metadata, q, k, v)
            return self._check_numeric_range(output.reshape(len(q), self.num_heads * self.head_dim), "attention_output")

    def _step(self, context: Context, metadata: HostMetadata, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store the new keys and values and attend, both by the chosen implementation; return ``[T, H, D]``."""
        chosen = choose(self, q, context.is_prefill)
        if chosen == "flex" and not context.is_prefill:
            return flex.step(self, q, k, v, context)
        if self.k_cache.numel() and context.slot_mapping is not None:
            # Under on_invalid="raise", `_validate` has checked the slots already: there is nothing left to drop.
            store_kvcache(k, v, self.k_cache, self.v_cache, context.slot_mapping)
        if chosen == "eager":
            if context.is_prefill:
                return self._prefill_attn(q, k, v, metadata["cu_seqlens_q"], metadata["cu_seqlens_k"])
            return self._decode_attn(q, metadata["context_lens"], metadata["block_tables"])
        if not context.is_prefill:
            return gathered.decode(self, q, context, metadata) if chosen == "sdpa" else flex.decode(self, q, context)
        output = flex_prefill.prefill(self, q, k, v, metadata) if chosen == "flex" else None
        return sdpa.prefill(self, q, k, v, metadata) if output is None else output

    def _init_cache(self, num_blocks: int, like: Float[Tensor, "T H D"]) -> None:
        """Allocate both caches as zeros ``[num_blocks, S, G, D]`` of the queries' dtype and device."""
        shape = (num_blocks, self.block_size, self.num_kv_heads, self.head_dim)
        self.k_cache, self.v_cache = like.new_zeros(shape), like.new_zeros(shape)

    def _prefill_attn(
        self,
        q: Float[Tensor, "T H D"],
        k: Float[Tensor, "T_k G D"],
        v: Float[Tensor, "T_k G D"],
        cu_seqlens_q: Int[Tensor, "B+1"],
        cu_seqlens_k: Int[Tensor, "B+1"],
    ) -> Float[Tensor, "T H D"]:
        """Attend causally, sequence by sequence, to the keys of this call."""
        dtype = eager.accumulation_dtype(q.dtype)
        starts_q, starts_k = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
        outputs = [torch.empty_like(q[:0])]
        with eager.full_precision(q.device.type):
            for i in range(len(starts_q) - 1):
                q_seq = self._check_numeric_range(q[starts_q[i] : starts_q[i + 1]], f"prefill_q_seq_{i}")
                k_seq = self._check_numeric_range(k[starts_k[i] : starts_k[i + 1]], f"prefill_k_seq_{i}")
                v_seq = v[starts_k[i] : starts_k[i + 1]]
                hidden = causal_mask(len(q_seq), len(k_seq), self.causal_alignment, q.device)
                outputs.append(self._attend(q_seq, k_seq, v_seq, dtype, hidden, f"prefill_attn_{i}").to(q.dtype))
            return torch.cat(outputs)

    def _decode_attn(
        self, q: Float[Tensor, "B H D"], context_lens: Int[Tensor, "B"], block_tables: Int[Tensor, "B M"]
    ) -> Float[Tensor, "B H D"]:
        """Attend, with the one query of each sequence, to the keys and values that the cache holds of its context."""
        num_blocks, block_size = self.k_cache.shape[:2]
        dtype = eager.accumulation_dtype(q.dtype, self.k_cache.dtype)
        block_tables = block_tables.cpu()
        self._check_numeric_range(q, "decode_q")
        outputs = [torch.empty_like(q[:0])]
        with eager.full_precision(q.device.type):
            for i, context_len in enumerate(context_lens.tolist()):
                block, offset = eager.visible_positions(block_tables[i], context_len, block_size, num_blocks)
                if len(block) < context_len:
                    dropped = torch.tensor(context_len - len(block), device="cpu")
                    report_dropped(f"block_tables[{i}]", dropped, num_blocks)
                block, offset = block.to(q.device), offset.to(q.device)
                k_seq = self._check_numeric_range(self.k_cache[block, offset], f"decode_k_history_{i}")
                outputs.append(self._attend(q[i : i + 1], k_seq, self.v_cache[block, offset], dtype).to(q.dtype))
            return torch.cat(outputs)

    def _attend(
        self,
        q: Float[Tensor, "Lq H D"],
        k: Float[Tensor, "Lk G D"],
        v: Float[Tensor, "Lk G D"],
        dtype: torch.dtype,
        hidden: Bool[Tensor, "Lq Lk"] | None = None,
        scores_name: str | None = None,
    ) -> Float[Tensor, "Lq H D"]:
        """Attend for one sequence: repeat the kv heads, score, softmax over visible keys, sum the weighted values."""
        q_trans = eager.widen(q, dtype).transpose(0, 1)
        k_trans, v_trans = (
            repeat_kv(eager.widen(x, dtype), self.num_rep, self.max_heads).transpose(0, 1) for x in (k, v)
        )
        scores = eager.attention_scores(q_trans, k_trans, self.scale)
        if scores_name is not None:
            self._check_numeric_range(scores, scores_name)
        weights = eager.attention_weights(scores, hidden)
        return eager.weighted_values(weights, v_trans, hidden).transpose(0, 1)

    def _check_numeric_range(self, x: Tensor, name: str) -> Tensor:
        """Warn if ``x`` leaves +-1e4 or holds NaN or Inf; return ``x``. See `check_numeric_range`."""
        return check_numeric_range(x, name)

    def _validate(self, context: Context, q: Tensor, k: Tensor, v: Tensor) -> HostMetadata:
        """Raise on bad input, else return the context's integers; `attn_core.checks` has the rules."""
        check_phase(context)
        check_tokens(q, k, v, self.num_heads, self.num_kv_heads, self.head_dim)
        cache_shape = self._cache_shape(context, q)
        check_context(context, q, k, has_cache=cache_shape is not None)
        metadata = HostMetadata(context, with_slots=self.on_invalid == "raise")
        check_values(context, metadata, len(q), len(k), self.check_values)
        if self.on_invalid == "raise" and cache_shape is not None:
            check_slots(metadata, *cache_shape)
            check_blocks(context, metadata, *cache_shape)
        return metadata

    def _cache_shape(self, context: Context, q: Tensor) -> tuple[int, int] | None:
        """Return the number of blocks and the block size of this call's cache, or None if it has no cache.

        Raises ValueError or TypeError if an assigned cache or ``num_kvcache_blocks`` is bad.
        """
        if any(not isinstance(x, Tensor) or x.numel() for x in (self.k_cache, self.v_cache)):
            check_cache(self.k_cache, self.v_cache, q, self.num_kv_heads, self.head_dim)
            return self.k_cache.shape[0], self.k_cache.shape[1]
        if context.num_kvcache_blocks is None:
            return None
        check_size("num_kvcache_blocks", context.num_kvcache_blocks)
        return context.num_kvcache_blocks, self.block_size

    def extra_repr(self) -> str:
        return (
            f"num_heads={self.num_heads}, head_dim={self.head_dim}, num_kv_heads={self.num_kv_heads}, "
            f"causal_alignment={self.causal_alignment}, implementation={self.implementation}"
        )
