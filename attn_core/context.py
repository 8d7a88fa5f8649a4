"""The context: all that the engine tells every attention layer about the current step.

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
    """One step of the engine: ``B`` sequences, ``T_k`` new keys, block tables of ``M`` columns.

    Index tensors are int32 or int64, on the host or on the device of ``q``.
    """

    is_prefill: bool = False
    """True for a prefill, False for a decode."""
    cu_seqlens_q: Int[Tensor, "B+1"] | None = None
    """Prefill: the place of each sequence's first query, and at the end the number of queries."""
    cu_seqlens_k: Int[Tensor, "B+1"] | None = None
    """Prefill: the place of each sequence's first key, and at the end the number of keys."""
    max_seqlen_q: int = 0
    """Most queries of a sequence, 0 if unknown: a hint that nothing here reads."""
    max_seqlen_k: int = 0
    """Most keys of a sequence, 0 if unknown: a hint, which `"sdpa"` trusts if `context_lens` are on a device."""
    slot_mapping: Int[Tensor, "T_k"] | None = None
    """Both phases, if there is a cache: the slot of each new token, -1 for none."""
    context_lens: Int[Tensor, "B"] | None = None
    """Decode: the number of tokens that each sequence attends to, this call's included."""
    block_tables: Int[Tensor, "B M"] | None = None
    """Decode: the blocks of each sequence; position `t` lies in the block of column `t // S`."""
    num_kvcache_blocks: int | None = None
    """Number of blocks for the first forward to allocate; None if the engine assigns the cache."""


# The context where none is set. It is told from others by identity, so that an error can say that none is set.
EMPTY = Context()
_CURRENT: ContextVar[Context] = ContextVar("attention_context", default=EMPTY)


def get_context() -> Context:
    """Return the context of this thread or task, an empty one if none was set."""
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
    """Replace the context; `Context` has the shapes and meanings."""
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
    """Set the context back to the empty one."""
    _CURRENT.set(EMPTY)


@contextmanager
def attention_context(context: Context) -> Iterator[Context]:
    """Set the context for a ``with`` block, and put the old one back at its end, errors or not."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        _CURRENT.reset(token)
