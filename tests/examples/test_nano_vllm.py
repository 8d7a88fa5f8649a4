"""nano-vLLM's calling convention: its argument order, its context, a scale of its own."""

from __future__ import annotations

import inspect
from math import sqrt

import pytest
import torch

from attn_core import Context
from examples import nano_vllm
from examples.nano_vllm import Attention, get_context, measure_largest_error, reset_context, set_context


@pytest.mark.parametrize("scale", [0.25, 0.3, 1.0])
def test_prefill_and_decode_agree_with_dense_attention(scale: float) -> None:
    assert measure_largest_error(scale) < 1e-12


def test_the_scale_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: here the layer keeps its own."""
    assert Attention(4, 16, 0.3, 2).scale == 0.3
    monkeypatch.setattr(Attention, "scale", property(lambda _: 1 / sqrt(16), lambda *_: None), raising=False)
    assert measure_largest_error(0.25) < 1e-12
    assert measure_largest_error(0.3) > 1e-2


def test_the_arguments_stand_in_nano_vllms_order() -> None:
    assert list(inspect.signature(Attention).parameters) == ["num_heads", "head_dim", "scale", "num_kv_heads"]
    layer = Attention(6, 8, 0.5, 3)
    assert (layer.num_heads, layer.head_dim, layer.scale, layer.num_kv_heads) == (6, 8, 0.5, 3)


def test_the_context_is_set_and_reset_by_nano_vllms_names() -> None:
    starts, slots = torch.tensor([0, 3]), torch.arange(3)
    set_context(True, starts, starts, 3, 3, slots, None, None)
    try:
        context = get_context()
        assert (context.is_prefill, context.max_seqlen_q, context.max_seqlen_k) == (True, 3, 3)
        assert context.cu_seqlens_q is context.cu_seqlens_k is starts
        assert context.slot_mapping is slots
    finally:
        reset_context()
    assert get_context() == Context()


def test_a_warm_up_needs_no_cache() -> None:
    """Its runner measures memory by a prefill before there is any cache, with no slots."""
    layer, starts = Attention(4, 16, 0.3, 2), torch.tensor([0, 2])
    set_context(True, starts, starts, 2, 2, torch.tensor([], dtype=torch.int32), None, None)
    try:
        assert layer(torch.ones(2, 4, 16), torch.ones(2, 2, 16), torch.ones(2, 2, 16)).shape == (2, 64)
    finally:
        reset_context()


def test_a_cached_prefix_is_refused() -> None:
    layer = Attention(4, 16, 0.3, 2)
    set_context(True, torch.tensor([0, 2]), torch.tensor([0, 6]), 2, 6, torch.tensor([4, 5]), None, torch.tensor([[0]]))
    try:
        with pytest.raises(ValueError, match="cu_seqlens_k"):
            layer(torch.ones(2, 4, 16), torch.ones(2, 2, 16), torch.ones(2, 2, 16))
    finally:
        reset_context()


def test_the_script_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert nano_vllm.main() == 0
    assert "dense attention" in capsys.readouterr().out
