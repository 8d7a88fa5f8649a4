"""Which implementation serves a call, and why not another."""

from __future__ import annotations

import logging

import pytest
import torch

from attn_core import Attention, choice
from attn_core.choice import choose, explain_no_kernel


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    choice._log_once.cache_clear()


def layer(implementation: str = "auto", block_size: int = 16, heads: int = 4, head_dim: int = 16) -> Attention:
    made = Attention(heads, head_dim, 2, implementation=implementation)  # type: ignore[arg-type]
    made.k_cache, made.v_cache = torch.zeros(2, 3, block_size, 2, head_dim)
    return made


class OnCuda(torch.Tensor):
    """A tensor that says that it is on CUDA: what is chosen there can be asked without."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


def queries(dtype: torch.dtype = torch.float32, heads: int = 4, head_dim: int = 16) -> torch.Tensor:
    return torch.zeros(1, heads, head_dim, dtype=dtype).as_subclass(OnCuda)


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_who_is_named_is_taken(name: str) -> None:
    assert choose(layer(name), torch.zeros(1, 4, 16), is_prefill=False) == name


def test_on_a_processor(caplog: pytest.LogCaptureFixture) -> None:
    """sdpa for auto, and the reason once, as data."""
    with caplog.at_level(logging.INFO, "attn_core.implementation"):
        assert [choose(layer(), torch.zeros(1, 4, 16), is_prefill) for is_prefill in (True, False, False)] == [
            "sdpa"
        ] * 3
    record, *more = caplog.records
    assert not more
    assert vars(record)["chosen"] == "sdpa"
    assert "not for cpu" in vars(record)["reason"]


def test_flex_without_its_kernel() -> None:
    """Runs, and is told apart."""
    assert choose(layer("flex"), torch.zeros(1, 4, 16), is_prefill=False) == "flex, uncompiled"


def test_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention decodes, torch's own kernels prefill."""
    monkeypatch.setattr(choice, "_has_triton", lambda: True)
    assert choose(layer(), queries(), is_prefill=False) == "flex"
    assert choose(layer(), queries(), is_prefill=True) == "sdpa"
    assert choose(layer("flex"), queries(), is_prefill=True) == "flex"


def test_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each names what is in the way, and auto falls back on sdpa."""
    monkeypatch.setattr(choice, "_has_triton", lambda: True)
    strided = layer()
    strided.k_cache = strided.k_cache.transpose(0, 1).contiguous().transpose(0, 1)
    for made, q, word in (
        (layer(), queries(torch.float64), "float64"),
        (layer(), queries(torch.float16), "a cache of torch.float32"),
        (layer(head_dim=24), queries(head_dim=24), "head_dim"),
        (layer(heads=6), queries(heads=6), "groups"),
        (layer(block_size=24), queries(), "24"),
        (strided, queries(), "gaps"),
    ):
        assert word in explain_no_kernel(made, q, is_prefill=False)
        assert choose(made, q, is_prefill=False) == "sdpa"
    monkeypatch.setattr(choice, "_has_triton", lambda: False)
    assert "triton" in explain_no_kernel(layer(), queries(), is_prefill=False)


def test_an_unknown_one_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of eager, sdpa, flex, auto"):
        layer("fastest")
