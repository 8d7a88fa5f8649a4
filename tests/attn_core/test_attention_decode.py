"""Decode: every sequence's one query attends to what the cache holds of its context."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from tests.attn_core import naive
from tests.attn_core.calls import DTYPES, Call, D, G, H, S, bits, decode_call
from verification.backends.captured_events import captured_events

CONTEXTS = ([1], [S], [S + 1], [9, 1, 4, 6], [3, 0, 13])


def _with_table(call: Call, row: int, column: int, block: int) -> Call:
    tables = call.context.block_tables.clone()
    tables[row, column] = block
    return call.but(block_tables=tables)


def _assert_exact(call: Call) -> None:
    output = call.run()
    exact = naive.decode(call)
    assert ((output.double() - exact).abs() <= naive.tolerance(output.dtype, exact)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("context_lens", CONTEXTS)
def test_it_attends_to_its_context(context_lens: list[int], dtype: torch.dtype) -> None:
    """Position t lives in block block_tables[i, t // S], offset t % S."""
    _assert_exact(decode_call(context_lens, dtype))


@pytest.mark.parametrize("cache_dtype", DTYPES)
def test_the_cache_may_have_a_dtype_of_its_own(cache_dtype: torch.dtype) -> None:
    """The output has the queries'."""
    call = decode_call([9, 3], torch.float16, cache_dtype)
    _assert_exact(call)
    assert call.run().dtype == torch.float16


def test_this_calls_token_is_part_of_the_context() -> None:
    """It is stored first: with a context of one, the output is its value."""
    call = decode_call([1])
    assert call.run().reshape(H, D).equal(call.v[0].repeat_interleave(H // G, dim=0))


@pytest.mark.parametrize("entry", [-1, -2, 0, 99, 2**40, -(2**63)])
def test_entries_beyond_the_context_are_never_read(entry: int) -> None:
    """Whatever they hold: same bits, no warning, also under raise."""
    for on_invalid in ("drop", "raise"):
        call = decode_call([5, 3], on_invalid=on_invalid)
        clean = call.run()
        wider = torch.cat((call.context.block_tables, torch.full((2, 2), entry)), dim=1)
        wider[1, 1] = entry
        with captured_events() as events:
            assert bits(call.but(block_tables=wider).run()) == bits(clean)
        assert events == []


@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.parametrize("block", [-1, -3, 7, 2**31])
def test_an_invalid_block_hides_its_positions_and_no_others(block: int, column: int) -> None:
    """The later blocks do not slide forward: the last block's visible part stays its first two offsets."""
    call = _with_table(decode_call([2 * S + 2, 3]), 0, column, block).but(slot_mapping=torch.tensor([-1, -1]))
    with captured_events() as events:
        _assert_exact(call)
    assert [(event.tensor, event.dropped) for event in events] == [("block_tables[0]", S if column < 2 else 2)]


def test_one_warning_a_sequence() -> None:
    """However many of its blocks are invalid."""
    call = decode_call([9, 5, 6])
    tables = call.context.block_tables.clone()
    tables[0, 0] = tables[0, 2] = tables[2, 1] = -1
    with captured_events() as events:
        _assert_exact(call.but(block_tables=tables))
    assert [event.tensor for event in events] == ["block_tables[0]", "block_tables[2]"]


@pytest.mark.parametrize("context_len", [2 * S + 1, 1000, 2**40])
def test_a_context_beyond_the_table_is_cut_with_a_warning(context_len: int) -> None:
    """Beyond M*S there is nothing to attend to: the output is that of M*S."""
    call = decode_call([2 * S, 3])
    clean = call.run()
    with captured_events() as events:
        output = call.but(context_lens=torch.tensor([context_len, 3])).run()
    assert bits(output) == bits(clean)
    assert [event.tensor for event in events] == ["block_tables[0]"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_nothing_is_visible_the_output_is_zeros_with_a_warning(dtype: torch.dtype) -> None:
    """Every block invalid; a context of 0 is zeros without one."""
    call = decode_call([3, 2, 0], dtype)
    call.layer.k_cache.fill_(nan)
    call.layer.v_cache.fill_(nan)
    tables = torch.tensor([[-1], [99], [-1]])
    with captured_events() as events:
        output = call.but(block_tables=tables, slot_mapping=torch.tensor([-1, -1, -1])).run()
    assert bits(output) == bits(torch.zeros(3, H * D, dtype=dtype))
    assert [event.tensor for event in events] == ["block_tables[0]", "block_tables[1]"]


def test_a_table_without_columns_hides_everything() -> None:
    """M == 0."""
    call = decode_call([3]).but(block_tables=torch.empty(1, 0, dtype=torch.int64))
    with captured_events() as events:
        assert not call.run().any()
    assert [event.tensor for event in events] == ["block_tables[0]"]


@pytest.mark.parametrize("poison", [nan, inf, -inf, 6e4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_outside_the_visible_positions_cannot_change_a_bit(dtype: torch.dtype, poison: float) -> None:
    """Freed blocks and the tail of the last block; nor is it range-checked."""
    call = decode_call([6, 1, 9], dtype)
    clean = call.run()
    hidden = torch.ones(len(call.layer.k_cache), S, dtype=torch.bool)
    for table, length in zip(call.context.block_tables.tolist(), (6, 1, 9), strict=True):
        for t in range(length):
            hidden[table[t // S], t % S] = False
    for cache in (call.layer.k_cache, call.layer.v_cache):
        cache[hidden] = poison
    with captured_events() as events:
        assert bits(call.run()) == bits(clean)
    assert events == []


@pytest.mark.parametrize("name", ["k_cache", "v_cache"])
def test_another_sequences_poison_is_its_own(name: str) -> None:
    """A visible NaN shows where it is visible, and only there."""
    call = decode_call([6, 5])
    clean = call.run()
    getattr(call.layer, name)[call.context.block_tables[0, 0], 1] = nan
    with captured_events():
        output = call.run()
    assert output[0].isnan().all()
    assert bits(output[1]) == bits(clean[1])


def test_sequences_may_share_blocks() -> None:
    """A common prefix is read by both."""
    call = decode_call([6, 7])
    _assert_exact(_with_table(call, 1, 0, int(call.context.block_tables[0, 0])))


def test_a_decode_changes_its_own_slots_only() -> None:
    """The cache after the call is the cache before it with this call's tokens."""
    call = decode_call([6, 1, 9])
    expected = [call.layer.k_cache.clone(), call.layer.v_cache.clone()]
    for n, slot in enumerate(call.context.slot_mapping.tolist()):
        expected[0][slot // S, slot % S], expected[1][slot // S, slot % S] = call.k[n], call.v[n]
    call.run()
    assert call.cache_bits() == (bits(expected[0]), bits(expected[1]))


def test_names_of_the_checked_tensors() -> None:
    """decode_q once, every history, the output."""
    call = decode_call([5, 3])
    call.layer.k_cache.mul_(1e6)
    call.layer.v_cache.mul_(1e6)
    with captured_events() as events:
        call.but(q=call.q * 1e6).run()
    assert [event.tensor for event in events] == [
        "decode_q",
        "decode_k_history_0",
        "decode_k_history_1",
        "attention_output",
    ]


def test_the_history_is_checked_after_the_store_over_visible_keys() -> None:
    """This call's key is in it."""
    call = decode_call([5, 3])
    call.k[1, 0, 0] = -2e4
    with captured_events() as events:
        call.run()
    assert [(event.tensor, event.min) for event in events] == [("decode_k_history_1", -2e4)]
