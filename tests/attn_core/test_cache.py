"""Writing to the paged cache: slot s is block s // S, offset s % S."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from attn_core import store_kvcache
from attn_core.cache import last_writer, valid_slots
from tests.attn_core.calls import DTYPES, D, G, S, bits
from verification.backends.captured_events import captured_events
from verification.tensors.observation import Event

N = 3
INVALID = [-2, -S, -N * S, -N * S - 1, N * S, N * S + 1, 2**31 - 1, -(2**31)]


def _tokens(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Keys and values that differ everywhere."""
    numbers = torch.arange(1, 2 * count * G * D + 1).reshape(2, count, G, D).to(dtype)
    return numbers[0], numbers[1]


def _poisoned_caches(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """NaNs with payloads among huge numbers: a copy through arithmetic would lose some."""
    coins = torch.rand(2, N, S, G, D * dtype.itemsize, generator=torch.Generator().manual_seed(0)) < 0.5
    k_cache, v_cache = torch.where(coins, 0x7F, 0xFF).to(torch.uint8).view(dtype)
    return k_cache, v_cache


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_token_goes_to_its_slot_and_no_other_byte_changes(dtype: torch.dtype, index_dtype: torch.dtype) -> None:
    """Block s // S, offset s % S, for K and V; every unnamed byte stays bit for bit."""
    slots = [10, 0, -1, 7, 4]
    key, value = _tokens(len(slots), dtype)
    caches = _poisoned_caches(dtype)
    expected = [cache.clone() for cache in caches]
    for n, slot in enumerate(slots):
        if slot != -1:
            expected[0][slot // S, slot % S], expected[1][slot // S, slot % S] = key[n], value[n]
    store_kvcache(key, value, *caches, torch.tensor(slots, dtype=index_dtype))
    assert [bits(cache) for cache in caches] == [bits(cache) for cache in expected]


@pytest.mark.parametrize("slots", [[], [-1, -1], [-1, N * S, -2]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_where_no_slot_is_valid_nothing_changes(dtype: torch.dtype, slots: list[int]) -> None:
    """Not even slot 0, bit for bit."""
    caches = _poisoned_caches(dtype)
    before = [bits(cache) for cache in caches]
    with captured_events():
        store_kvcache(*_tokens(len(slots), dtype), *caches, torch.tensor(slots, dtype=torch.int64))
    assert [bits(cache) for cache in caches] == before


def test_padding_is_silent() -> None:
    """-1 is skipped without a word."""
    with captured_events() as events:
        store_kvcache(*_tokens(3), *_poisoned_caches(torch.float32), torch.tensor([-1, 2, -1]))
    assert events == []


@pytest.mark.parametrize("bad", INVALID)
def test_an_invalid_slot_is_dropped_with_a_warning(bad: int) -> None:
    """Negative ones included: Python's wrap-around must not reach the cache. The valid neighbours are written."""
    key, value = _tokens(3)
    caches = _poisoned_caches(torch.float32)
    expected = [cache.clone() for cache in caches]
    store_kvcache(key[::2], value[::2], expected[0], expected[1], torch.tensor([1, 5]))
    with captured_events() as events:
        store_kvcache(key, value, *caches, torch.tensor([1, bad, 5]))
    assert [bits(cache) for cache in caches] == [bits(cache) for cache in expected]
    assert events == [Event("slot_mapping", dropped=1)]


def test_one_warning_a_call_counts_them_all() -> None:
    """Five invalid slots, the same one twice, among padding."""
    with captured_events() as events:
        store_kvcache(*_tokens(8), *_poisoned_caches(torch.float32), torch.tensor([-1, -2, 12, 0, 12, -1, 99, -13]))
    assert events == [Event("slot_mapping", dropped=5)]


def test_the_record_says_where_the_slots_end(caplog: pytest.LogCaptureFixture) -> None:
    """Level WARNING, the tensor, the count and the limit N*S as data."""
    store_kvcache(*_tokens(1), *_poisoned_caches(torch.float32), torch.tensor([77]))
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("attn_core.invalid_index", logging.WARNING)
    assert (record.tensor, record.dropped, record.limit) == ("slot_mapping", 1, N * S)


@pytest.mark.parametrize("bad", INVALID)
def test_raise_refuses_before_any_write(bad: int) -> None:
    """The valid tokens before and after it are not written either."""
    caches = _poisoned_caches(torch.float32)
    before = [bits(cache) for cache in caches]
    with pytest.raises(ValueError, match="slot_mapping"):
        store_kvcache(*_tokens(3), *caches, torch.tensor([1, bad, 5]), "raise")
    assert [bits(cache) for cache in caches] == before


def test_raise_accepts_padding() -> None:
    """-1 is no invalid slot."""
    caches = torch.zeros(2, N, S, G, D)
    store_kvcache(*_tokens(2), caches[0], caches[1], torch.tensor([-1, 3]), "raise")
    assert caches[0, 0, 3].equal(_tokens(2)[0][1])


@pytest.mark.parametrize("slots", [[5, 5], [5, 2, 5, -1, 5], [5, 99, 5, 2], [2] * 9 + [5] * 200])
def test_the_last_of_equal_slots_wins(slots: list[int]) -> None:
    """For K and V alike."""
    key, value = _tokens(len(slots))
    k_cache, v_cache = torch.zeros(2, N, S, G, D)
    with captured_events():
        store_kvcache(key, value, k_cache, v_cache, torch.tensor(slots))
    for slot in (2, 5):
        last = max((n for n, other in enumerate(slots) if other == slot), default=None)
        for new, cache in ((key, k_cache), (value, v_cache)):
            assert cache[slot // S, slot % S].equal(torch.zeros(G, D) if last is None else new[last])


@pytest.mark.parametrize(
    ("dtype", "x", "rounded"),
    [
        (torch.float16, 2049.0, 2048.0),  # half way, to the even one below
        (torch.float16, 2051.0, 2052.0),  # half way, to the even one above
        (torch.float16, 2049.000244140625, 2050.0),  # just above half way
        (torch.float16, 2.0**-25, 0.0),  # half the smallest subnormal
        (torch.float16, 65519.0, 65504.0),  # just below the overflow
        (torch.float16, 65520.0, float("inf")),  # half way to 2**16
        (torch.bfloat16, 257.0, 256.0),
        (torch.bfloat16, 259.0, 260.0),
        (torch.bfloat16, -257.0, -256.0),
        (torch.bfloat16, 257.000030517578125, 258.0),
    ],
)
def test_the_cast_rounds_to_nearest_even(dtype: torch.dtype, x: float, rounded: float) -> None:
    """From float32 to the cache's dtype."""
    new = torch.full((1, G, D), x, dtype=torch.float32)
    k_cache, v_cache = torch.zeros(2, N, S, G, D, dtype=dtype)
    store_kvcache(new, new, k_cache, v_cache, torch.tensor([6]))
    assert set(k_cache[1, 2].flatten().tolist() + v_cache[1, 2].flatten().tolist()) == {rounded}


def test_strided_tokens_and_caches_are_read_and_written_in_place() -> None:
    """A fused QKV's views, and caches that are slices of one allocation."""
    fused = torch.randn(4, 2, D, G).transpose(2, 3)
    pool = torch.zeros(N, 2, S, G, D)
    before = fused.clone()
    store_kvcache(fused[:, 0], fused[:, 1], pool[:, 0], pool[:, 1], torch.tensor([3, 4, 0, 11]))
    assert pool[0, :, 3].equal(fused[0])
    assert pool[2, :, 3].equal(fused[3])
    assert fused.equal(before)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("key", {"key": (2, G * D), "value": (2, G * D)}),
        ("value", {"value": (3, G, D)}),
        ("k_cache", {"k_cache": (N * S, G, D), "v_cache": (N * S, G, D)}),
        ("k_cache", {"k_cache": (N, S, G + 1, D), "v_cache": (N, S, G + 1, D)}),
        ("v_cache", {"v_cache": (N + 1, S, G, D)}),
        ("slot_mapping", {"slot_mapping": (3,)}),
        ("slot_mapping", {"slot_mapping": (1, 2)}),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """The error names the argument; nothing has been written."""
    fitting = {"key": (2, G, D), "value": (2, G, D), "k_cache": (N, S, G, D), "v_cache": (N, S, G, D)}
    tensors = {argument: torch.zeros(shape) for argument, shape in {**fitting, "slot_mapping": (2,), **shapes}.items()}
    tensors["key"] += 1.0
    tensors["value"] += 1.0
    tensors["slot_mapping"] = tensors["slot_mapping"].long()
    with pytest.raises(ValueError, match=name):
        store_kvcache(**tensors)
    assert not tensors["k_cache"].any()
    assert not tensors["v_cache"].any()


def test_valid_slots_are_those_in_the_cache() -> None:
    """The half-open [0, N*S)."""
    assert valid_slots(torch.tensor([-13, -1, 0, 11, 12]), 12).tolist() == [False, False, True, True, False]


def test_last_writer_is_the_last_token_of_the_same_slot() -> None:
    """Tokens with a slot of their own are their own last writer."""
    assert last_writer(torch.tensor([5, -1, 5, 2, -1, 5, 7])).tolist() == [5, 4, 5, 3, 4, 5, 6]
