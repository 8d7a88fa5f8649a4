"""The context: what the engine sets is what its own thread or task sees, and nobody else."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields
from threading import Barrier

import pytest
import torch

from attn_core import Context, attention_context, get_context, reset_context, set_context
from tests.attn_core.calls import bits, prefill_call

NAMES = (
    "is_prefill",
    "cu_seqlens_q",
    "cu_seqlens_k",
    "max_seqlen_q",
    "max_seqlen_k",
    "slot_mapping",
    "context_lens",
    "block_tables",
    "num_kvcache_blocks",
)


def test_the_fields_are_nano_vllms_in_its_order() -> None:
    """An engine that passes them by position needs no change."""
    assert tuple(field.name for field in fields(Context)) == NAMES


def test_the_default_is_an_empty_decode() -> None:
    """Nothing set: no phase's tensors, and no cache to allocate."""
    assert [getattr(get_context(), name) for name in NAMES] == [False, None, None, 0, 0, None, None, None, None]


def test_set_context_passes_every_field_and_reset_forgets_them() -> None:
    """By position, as nano-vLLM calls it."""
    values = (True, *(torch.tensor([i]) for i in range(2)), 3, 4, *(torch.tensor([i]) for i in range(5, 8)), 9)
    try:
        set_context(*values)
        assert all(getattr(get_context(), name) is value for name, value in zip(NAMES, values, strict=True))
    finally:
        reset_context()
    assert get_context() == Context()


def test_a_context_cannot_be_changed() -> None:
    """A layer cannot change what the next layer sees."""
    with pytest.raises(FrozenInstanceError):
        Context().is_prefill = True  # type: ignore[misc]


def test_attention_context_nests_and_restores() -> None:
    """Leaving a block puts back what was there before it."""
    outer, inner = Context(max_seqlen_q=1), Context(max_seqlen_q=2)
    with attention_context(outer) as entered:
        assert entered is outer
        with attention_context(inner):
            assert get_context() is inner
        assert get_context() is outer
    assert get_context() == Context()


def _fail_inside(context: Context) -> None:
    with attention_context(context):
        raise KeyError("engine")


def test_attention_context_restores_after_an_exception() -> None:
    """The next step must not run with the failed step's lengths."""
    with pytest.raises(KeyError, match="engine"):
        _fail_inside(Context(is_prefill=True))
    assert get_context() == Context()


def test_a_new_thread_starts_empty() -> None:
    """What the main thread has set is not another thread's."""
    with attention_context(Context(is_prefill=True)), ThreadPoolExecutor(1) as pool:
        assert pool.submit(get_context).result() == Context()


def test_two_threads_never_see_each_others_context() -> None:
    """Both set theirs before either looks."""
    barrier = Barrier(2, timeout=30)

    def step(number: int) -> int:
        set_context(True, max_seqlen_q=number)
        barrier.wait()
        return get_context().max_seqlen_q

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(step, (1, 2))) == [1, 2]


def test_two_tasks_never_see_each_others_context() -> None:
    """Both run on one thread, and each sets its own before either looks."""

    async def step(number: int) -> int:
        set_context(True, max_seqlen_q=number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return get_context().max_seqlen_q

    async def both() -> list[int]:
        return await asyncio.gather(step(1), step(2))

    assert asyncio.run(both()) == [1, 2]
    assert get_context() == Context()


def test_one_layer_serves_two_threads_at_once() -> None:
    """Each forward reads its own thread's lengths: the outputs are those of the calls made alone."""
    calls = [prefill_call([6]), prefill_call([1, 2, 3])]
    alone = [bits(call.run()) for call in calls]
    barrier = Barrier(2, timeout=30)

    def step(number: int) -> set[bytes]:
        context = calls[number].context
        set_context(True, context.cu_seqlens_q, context.cu_seqlens_k)
        barrier.wait()
        return {bits(calls[0].layer(calls[0].q, calls[0].k, calls[0].v)) for _ in range(20)}

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(step, (0, 1))) == [{alone[0]}, {alone[1]}]
    assert alone[0] != alone[1]
