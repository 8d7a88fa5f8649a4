"""What the engine tells every attention layer about the current step.

The names and their order are nano-vLLM's, so an engine written for it needs no change. The context lives in a
``ContextVar``: two threads or tasks never see each other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Context:
    """One step of the engine. ``B`` sequences, ``T_k`` new keys, block tables ``M`` columns wide.

    Prefill reads ``cu_seqlens_q`` and ``cu_seqlens_k``; decode reads ``context_lens`` (tokens to attend to, this
    call's included) and ``block_tables``; both read ``slot_mapping`` where there is a cache. Index tensors are int32
    or int64, on the host or beside ``q``. ``max_seqlen_q`` and ``max_seqlen_k`` are hints; ``sdpa``
    trusts the latter in a decode whose ``context_lens`` are on a device. ``num_kvcache_blocks`` lets the first forward
    allocate the cache.
    """

    is_prefill: bool = False
    cu_seqlens_q: Int[Tensor, "B+1"] | None = None
    cu_seqlens_k: Int[Tensor, "B+1"] | None = None
    max_seqlen_q: int = 0
    max_seqlen_k: int = 0
    slot_mapping: Int[Tensor, "T_k"] | None = None
    context_lens: Int[Tensor, "B"] | None = None
    block_tables: Int[Tensor, "B M"] | None = None
    num_kvcache_blocks: int | None = None


_EMPTY = Context()
_CURRENT: ContextVar[Context] = ContextVar("attention_context", default=_EMPTY)


def get_context() -> Context:
    """The context of this thread or task; an empty one where nothing was set."""
    return _CURRENT.get()


def set_context(
    is_prefill: bool,
    cu_seqlens_q: Tensor | None = None,
    cu_seqlens_k: Tensor | None = None,
    max_seqlen_q: int = 0,
    max_seqlen_k: int = 0,
    slot_mapping: Tensor | None = None,
    context_lens: Tensor | None = None,
    block_tables: Tensor | None = None,
    num_kvcache_blocks: int | None = None,
) -> None:
    """Replace the context; see `Context` for shapes."""
    _CURRENT.set(
        Context(
            is_prefill,
            cu_seqlens_q,
            cu_seqlens_k,
            max_seqlen_q,
            max_seqlen_k,
            slot_mapping,
            context_lens,
            block_tables,
            num_kvcache_blocks,
        )
    )


def reset_context() -> None:
    """Back to the empty context."""
    _CURRENT.set(_EMPTY)


@contextmanager
def attention_context(context: Context) -> Iterator[Context]:
    """``with attention_context(Context(...)):`` sets the context and puts the old one back, errors or not."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)
