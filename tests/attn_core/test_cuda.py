"""What only a CUDA device can show: transfers, the order of equal slots, TF32, the same events as on the host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from attn_core import Attention, store_kvcache
from attn_core.finite import checksum
from attn_core.streams import side_by_side
from tests.attn_core import naive
from tests.attn_core.calls import DTYPES, Call, D, G, H, S, bits, decode_call, prefill_call
from tests.attn_core.float32 import FASTER, faster_products, product_precisions
from verification.backends.captured_events import INDEX_LOG, RANGE_LOG, captured_events
from verification.tensors.observation import Event

pytestmark = pytest.mark.usefixtures("cuda_device")
DEVICE = "cuda"
INTEGERS = ("cu_seqlens_q", "cu_seqlens_k", "slot_mapping", "context_lens", "block_tables")


def _prefill(device: str = DEVICE, dtype: torch.dtype = torch.float32) -> Call:
    """Several sequences, one without queries and one without keys; padding, a duplicate and three dropped slots."""
    call = prefill_call([3, 0, 5, 1], [4, 2, 5, 0], dtype, num_blocks=3, device=device)
    return call.but(slot_mapping=torch.tensor([0, -1, 99, 3, 5, 5, -7, 11, 8, 3 * S, 1]))


def _decode(device: str = DEVICE, dtype: torch.dtype = torch.float32) -> Call:
    """Several sequences, one empty; two of them miss a block, and one slot is dropped."""
    call = decode_call([9, 5, 0, 6], dtype, device=device)
    tables = call.context.block_tables.clone()
    tables[0, 1], tables[3, 0] = -1, 99
    slots = call.context.slot_mapping.clone()
    slots[1] = -2
    return call.but(block_tables=tables, slot_mapping=slots)


CALLS = pytest.mark.parametrize("call_of", [_prefill, _decode])
CallOf = Callable[..., Call]


def _on_device(call: Call) -> Call:
    """The same call with its metadata beside q."""
    tensors = {name: getattr(call.context, name) for name in INTEGERS}
    return call.but(**{name: x.to(call.q.device) for name, x in tensors.items() if x is not None})


def _loud(call: Call) -> Call:
    """Every tensor that is checked leaves the range."""
    call.layer.k_cache.mul_(1e6)
    call.layer.v_cache.mul_(1e6)
    return call.but(q=call.q * 1e5, k=call.k * 1e6, v=call.v * 1e6)


@contextmanager
def _silenced(how: str) -> Iterator[None]:
    """Both loggers disabled, or at a level above WARNING."""
    loggers = [logging.getLogger(name) for name in (RANGE_LOG, INDEX_LOG)]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            if how == "disabled":
                logger.disabled = True
            else:
                logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.disabled = False
            logger.setLevel(level)


def _copies_to_host(action: Callable[[], object]) -> int:
    """Device-to-host copies of one run, after one that has paid for every first time."""
    action()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        action()
        torch.cuda.synchronize()
    return sum(event.name.startswith("Memcpy DtoH") for event in profiler.events())


def _copies(call: Call, silenced: str | None = None) -> int:
    if silenced is not None:
        with _silenced(silenced):
            return _copies_to_host(call.run)
    with captured_events():
        return _copies_to_host(call.run)


def test_the_profiler_sees_copies() -> None:
    """Otherwise a count of 0 below would say nothing."""
    x = torch.arange(3, device=DEVICE)
    assert _copies_to_host(lambda: (x.tolist(), x.sum().item())) == 2
    assert _copies_to_host(lambda: x + 1) == 0


@CALLS
@pytest.mark.parametrize("loud", [False, True])
def test_all_warnings_cost_one_transfer(call_of: CallOf, loud: bool) -> None:
    """Host metadata: range statistics and the counts of dropped slots and blocks ride along."""
    call = _loud(call_of()) if loud else call_of()
    with captured_events() as events:
        call.run()
    assert "slot_mapping" in {event.tensor for event in events if event.dropped}
    assert _copies(call) == 1


@CALLS
@pytest.mark.parametrize("how", ["disabled", "level"])
def test_silenced_loggers_cost_no_transfer(call_of: CallOf, how: str) -> None:
    """Host metadata: the host never waits for the device."""
    assert _copies(_loud(call_of()), how) == 0


@CALLS
@pytest.mark.parametrize("how", ["disabled", "level"])
def test_device_metadata_costs_the_same_transfer_more(call_of: CallOf, how: str) -> None:
    """Metadata on the device has to be fetched, loggers or not; the warnings add one transfer at most."""
    call = _on_device(_loud(call_of()))
    assert _copies(call) - _copies(call, how) <= 1


@CALLS
def test_device_metadata_is_fetched_at_once(call_of: CallOf) -> None:
    """One transfer for all of it."""
    assert _copies(_on_device(call_of()), "disabled") <= 1


@CALLS
@pytest.mark.parametrize("dtype", DTYPES)
def test_metadata_may_live_on_either_side(call_of: CallOf, dtype: torch.dtype) -> None:
    """Same bits, same caches, same events."""
    outcomes = []
    for call in (call_of(dtype=dtype), _on_device(call_of(dtype=dtype))):
        with captured_events() as events:
            outcomes.append((bits(call.run()), call.cache_bits(), events))
    assert outcomes[0] == outcomes[1]


def test_work_aside_leaves_the_streams_as_they_were() -> None:
    """Also where it raises; and what is done there is done for whoever comes after."""
    mine, x = torch.cuda.Stream(), torch.zeros(2**24, device=DEVICE)
    with torch.cuda.stream(mine):
        for _ in range(3):
            with side_by_side(x.device) as switch:
                switch.to_aside()
                y = x + 1
                switch.to_least_busy(1)
                z = x + 2
                switch.to_least_busy(1)
                assert torch.cuda.current_stream() != mine
            assert torch.cuda.current_stream() == mine
            assert (int(y.sum()), int(z.sum())) == (2**24, 2**25)
        with pytest.raises(KeyError):
            _raise_aside(x.device)
        assert torch.cuda.current_stream() == mine


def _raise_aside(device: torch.device) -> None:
    with side_by_side(device) as switch:
        switch.to_aside()
        raise KeyError


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_checksum_there_tells_what_is_not_finite(value: float, dtype: torch.dtype) -> None:
    """Wherever it is, in rows that lie apart too; of nothing it is 0."""
    x = torch.full((300, 2, 8), 6e4, device=DEVICE).to(dtype)
    apart, far = (x.new_zeros(300, 3, 8)[:, 1:] for _ in range(2))
    assert checksum(x, apart, x[:0]).isfinite()
    assert checksum(x[:0], x[:0]) == 0
    for i in (0, 2047, 4799):
        bad = x.clone()
        bad.view(-1)[i] = far.zero_()[i // 16, i % 2, 3] = value
        for each in ((bad, x), (x, bad), (bad, -bad), (x, apart, far)):
            assert not checksum(*each).isfinite()


def _assert_same_event(ours: Event, theirs: Event) -> None:
    """Names, counts and kinds are equal; a computed extreme may differ in its last digits."""
    assert (ours.tensor, ours.dropped, ours.nonfinite) == (theirs.tensor, theirs.dropped, theirs.nonfinite)
    if ours.nonfinite is not None:
        assert (ours.max, ours.min) == pytest.approx((theirs.max, theirs.min), rel=1e-4, abs=1e-3, nan_ok=True)


@CALLS
@pytest.mark.parametrize("poison", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_host_and_the_device_log_the_same_events(call_of: CallOf, dtype: torch.dtype, poison: float) -> None:
    """In the same order."""
    logs = []
    for device in ("cpu", DEVICE):
        call = call_of(device, dtype)
        call = call.but(q=call.q * 1e4, k=call.k * 1e4)
        call.k[0, 0, 0] = poison
        with captured_events() as events:
            call.run()
        logs.append(events)
    assert [event.tensor for event in logs[0]] == [event.tensor for event in logs[1]]
    for ours, theirs in zip(*logs, strict=True):
        _assert_same_event(ours, theirs)


@CALLS
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_device_is_exact_to_the_same_bound(call_of: CallOf, dtype: torch.dtype) -> None:
    """Against plain Python floats; the output stays on q's device, in its dtype."""
    call = call_of(dtype=dtype)
    with captured_events():
        output = call.run()
    exact = naive.prefill(call, lambda a, b, _lq, _lk: b <= a) if call.context.is_prefill else naive.decode(call)
    assert (output.dtype, output.device) == (dtype, call.q.device)
    assert ((output.cpu().double() - exact).abs() <= naive.tolerance(dtype, exact)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_of_equal_slots_wins(dtype: torch.dtype) -> None:
    """Thousands of tokens for two blocks, some invalid: the caches are the host's, K and V alike."""
    generator = torch.Generator().manual_seed(0)
    key, value = torch.randn(2, 5000, G, D, generator=generator).to(dtype)
    slots = torch.randint(-2, 2 * S + 2, (5000,), generator=generator)
    outcomes = []
    for device in ("cpu", DEVICE):
        k_cache, v_cache = torch.zeros(2, 2, S, G, D, dtype=dtype, device=device)
        with captured_events() as events:
            store_kvcache(key.to(device), value.to(device), k_cache, v_cache, slots)
        outcomes.append((bits(k_cache), bits(v_cache), events))
    assert outcomes[0] == outcomes[1]


@CALLS
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_call_gives_the_same_bits(call_of: CallOf, dtype: torch.dtype) -> None:
    """Same input, same device, same implementation."""
    call = call_of(dtype=dtype)
    with captured_events():
        assert len({bits(call.run()) for _ in range(5)}) == 1


def _large() -> Call:
    """Large enough for tensor cores."""
    call = prefill_call([256], num_heads=2, num_kv_heads=1, head_dim=128, device=DEVICE)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(256, heads, 128, generator=generator).to(DEVICE) for heads in (2, 1, 1))
    return call.but(q=q, k=k, v=v)


@FASTER
def test_faster_float32_products_have_no_influence(how: str) -> None:
    """However the process has asked for TF32; it keeps its choice."""
    call = _large()
    exact = call.run()
    with faster_products(how):
        before = product_precisions()
        assert bits(call.run()) == bits(exact)
        assert product_precisions() == before


def test_tf32_does_make_a_difference() -> None:
    """Otherwise the test above would say nothing: outside of the layer the same product changes its bits."""
    call = _large()
    exact = call.q[:, 0] @ call.k[:, 0].T
    with faster_products("cuda"):
        assert torch.backends.cuda.matmul.allow_tf32 is True
        call.run()
        assert torch.backends.cuda.matmul.allow_tf32 is True
        assert bits(call.q[:, 0] @ call.k[:, 0].T) != bits(exact)


def test_autocast_has_no_influence() -> None:
    """The bits and the dtype are those without it."""
    call = _large()
    plain = call.run()
    with torch.autocast(DEVICE, torch.float16):
        assert bits(call.run()) == bits(plain)


@pytest.mark.parametrize("name", ["k_cache", "v_cache"])
def test_poison_outside_the_visible_positions_changes_no_bit(name: str) -> None:
    """The block that nobody owns, and the tails."""
    call = decode_call([9, 5], device=DEVICE)
    clean = call.run()
    getattr(call.layer, name)[0] = float("nan")
    for row, length in enumerate((9, 5)):
        getattr(call.layer, name)[call.context.block_tables[row, length // S], length % S :] = float("nan")
    assert bits(call.run()) == bits(clean)


@CALLS
def test_device_values_are_checked_before_any_write(call_of: CallOf) -> None:
    """Bad lengths on the device: refused, and no byte of the cache has changed."""
    call = _on_device(call_of())
    name = "cu_seqlens_k" if call.context.is_prefill else "context_lens"
    bad = getattr(call.context, name).clone()
    bad[1] = -1
    before = call.cache_bits()
    with pytest.raises(ValueError, match=name):
        call.but(**{name: bad}).run()
    assert call.cache_bits() == before


def test_tensors_on_another_device_are_refused() -> None:
    """Each by its name; the cache too."""
    call = decode_call([5, 3], device=DEVICE)
    for name in ("k", "v"):
        with pytest.raises(ValueError, match=f"^{name}: device cpu"):
            call.but(**{name: getattr(call, name).cpu()}).run()
    call.layer.k_cache, call.layer.v_cache = torch.zeros(2, 4, S, G, D)
    with pytest.raises(ValueError, match=r"^k_cache: device cpu"):
        call.run()


def test_a_vectorised_decode_waits_for_nothing() -> None:
    """With the loggers on it costs their one transfer, else none, wherever the engine's numbers are."""
    call = _decode()
    call = Call(Attention(H, D, G, S, implementation="sdpa", check_values=False), call.context, call.q, call.k, call.v)
    eager_layer = _decode().layer
    call.layer.k_cache, call.layer.v_cache = eager_layer.k_cache, eager_layer.v_cache
    for each in (call, _on_device(call)):
        assert _copies(each, "disabled") == 0
        assert _copies(each) == 1


@CALLS
def test_a_vectorised_call_is_the_eager_one(call_of: CallOf) -> None:
    """But for rounding."""
    eager_one, vectorised = call_of(), call_of()
    vectorised.layer.implementation = "sdpa"
    torch.testing.assert_close(vectorised.run(), eager_one.run(), rtol=1e-4, atol=1e-4)
