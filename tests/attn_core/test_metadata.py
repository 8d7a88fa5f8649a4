"""The context's integers on the host."""

from __future__ import annotations

import pytest
import torch

from attn_core import Context
from attn_core.metadata import HostMetadata
from tests.attn_core.remote import Remote, remote

TENSORS = {
    "cu_seqlens_q": torch.tensor([0, 2]),
    "cu_seqlens_k": torch.tensor([0, 3]),
    "slot_mapping": torch.tensor([4, 5, 6]),
    "context_lens": torch.tensor([3]),
    "block_tables": torch.tensor([[1, 0], [3, 2]]),
}
READ = {True: ("cu_seqlens_q", "cu_seqlens_k", "slot_mapping"), False: ("context_lens", "block_tables", "slot_mapping")}


@pytest.mark.parametrize("is_prefill", [True, False])
def test_it_holds_what_its_phase_reads(is_prefill: bool) -> None:
    """A prefill has no use for the decode's tensors, nor the other way round."""
    metadata = HostMetadata(Context(is_prefill, **TENSORS))
    assert [name for name in TENSORS if name in metadata] == [name for name in TENSORS if name in READ[is_prefill]]


def test_what_was_not_set_is_not_there() -> None:
    """A prefill without a cache has no slots."""
    metadata = HostMetadata(Context(True, TENSORS["cu_seqlens_q"], TENSORS["cu_seqlens_k"]))
    assert "slot_mapping" not in metadata
    assert not metadata.on_host("slot_mapping")


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_values_come_as_int64(index_dtype: torch.dtype) -> None:
    """Whatever the engine's integer type, and without touching the engine's tensor."""
    starts = torch.tensor([0, 2**31 - 1], dtype=index_dtype)
    metadata = HostMetadata(Context(True, cu_seqlens_q=starts))
    assert metadata["cu_seqlens_q"].dtype == torch.int64
    assert metadata["cu_seqlens_q"].tolist() == [0, 2**31 - 1]
    assert starts.dtype == index_dtype


@pytest.mark.parametrize("is_prefill", [True, False])
def test_all_remote_tensors_come_in_one_transfer(is_prefill: bool) -> None:
    """Their shapes survive, and a second look is free."""
    metadata = HostMetadata(Context(is_prefill, **{name: remote(tensor) for name, tensor in TENSORS.items()}))
    before = Remote.transfers
    for _ in range(2):
        for name in READ[is_prefill]:
            assert not metadata.on_host(name)
            assert metadata[name].equal(TENSORS[name])
    assert Remote.transfers == before + 1


def test_a_tensor_of_two_names_is_fetched_once() -> None:
    """Engines pass the same ``cu_seqlens`` twice where nothing is in the cache; shapes are kept."""
    starts = remote(torch.tensor([0, 2, 2**31 - 1], dtype=torch.int32))
    metadata, before = HostMetadata(Context(True, starts, starts)), Remote.transfers
    assert metadata["cu_seqlens_k"].dtype == torch.int64
    assert metadata["cu_seqlens_k"].tolist() == metadata["cu_seqlens_q"].tolist() == [0, 2, 2**31 - 1]
    assert Remote.transfers == before + 1


def test_slots_can_be_left_where_they_are() -> None:
    """They are as many as the tokens, and only who refuses bad ones reads them."""
    context = Context(True, **{name: remote(tensor) for name, tensor in TENSORS.items()})
    assert "slot_mapping" not in HostMetadata(context, with_slots=False)


def test_what_lives_on_the_host_is_never_waited_for() -> None:
    """Reading a host tensor fetches no remote one."""
    metadata = HostMetadata(Context(True, **{**TENSORS, "slot_mapping": remote(TENSORS["slot_mapping"])}))
    before = Remote.transfers
    assert metadata.on_host("cu_seqlens_q")
    assert metadata["cu_seqlens_q"].tolist() == [0, 2]
    assert Remote.transfers == before
    assert metadata["slot_mapping"].tolist() == [4, 5, 6]
    assert Remote.transfers == before + 1


def test_nothing_is_fetched_until_it_is_asked_for() -> None:
    """An engine that has checked its own values does not wait."""
    before = Remote.transfers
    HostMetadata(Context(True, **{name: remote(tensor) for name, tensor in TENSORS.items()}))
    assert Remote.transfers == before
