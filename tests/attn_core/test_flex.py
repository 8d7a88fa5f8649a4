"""FlexAttention's parts, uncompiled, and the whole compiled step run by Python, against the eager implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attn_core import flex, flex_prefill
from attn_core.masks import causal_mask
from attn_core.sequences import mark_seen_keys
from properties import laws
from properties.run.round import fuzz
from tests.attn_core.calls import DTYPES, Call, bits, decode_call
from verification.backends.attn_core import fast
from verification.backends.captured_events import captured_events

TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 2e-2, torch.float32: 1e-5, torch.float64: 1e-12}
CONTEXTS = [[9, 0, 4, 1, 13], [300, 77, 1], [0, 0], []]


def close(one: Tensor, other: Tensor, dtype: torch.dtype = torch.float32) -> None:
    torch.testing.assert_close(other, one, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], equal_nan=True)


@pytest.mark.parametrize("lengths", CONTEXTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_numbers(lengths: list[int], dtype: torch.dtype) -> None:
    """In every dtype, ragged, with contexts of nothing, in one part and in several."""
    one, other = (decode_call(lengths, dtype=dtype, implementation=name) for name in ("eager", "flex"))
    close(one.run(), other.run(), dtype)
    assert one.cache_bits() == other.cache_bits()


@pytest.fixture
def step_by_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that is compiled on CUDA: as Python, it takes the gathered parts."""
    monkeypatch.setattr(flex, "compile_for", lambda function, *_: function)
    monkeypatch.setattr("attn_core.choice.explain_no_kernel", lambda *_: "")


def blocks_of_16(change: Callable[[Call], Call] = lambda call: call, **options: Any) -> tuple[Call, Call]:
    """300, 63, 64, 0 and 65 tokens in blocks of 16."""
    both = (decode_call([300, 63, 64, 0, 65], implementation=name, **options) for name in ("eager", "flex"))
    one, other = (change(_in_larger_blocks(call)) for call in both)
    return one, other


def _in_larger_blocks(call: Call) -> Call:
    """Four blocks of four become one of sixteen: the numbers are others, the geometry is valid."""
    lengths = call.context.context_lens
    need = (lengths + 15) // 16
    ends = need.cumsum(0)
    tables = (ends - need)[:, None] + torch.arange(int(need.max()))
    total = int(ends[-1]) + 1
    generator = torch.Generator().manual_seed(2)
    for name in ("k_cache", "v_cache"):
        shape = (total, 16, *call.layer.k_cache.shape[2:])
        setattr(call.layer, name, torch.randn(shape, generator=generator).to(call.q.dtype))
    last = tables.gather(1, (need - 1).clamp(min=0)[:, None])[:, 0]
    slots = (last * 16 + (lengths - 1) % 16).where(lengths > 0, -1)
    return call.but(block_tables=tables, slot_mapping=slots)


@pytest.mark.usefixtures("step_by_python")
@pytest.mark.parametrize("dtype", DTYPES[:3])
def test_the_step_stores_and_attends(dtype: torch.dtype) -> None:
    """A batch that is padded."""
    one, other = blocks_of_16(dtype=dtype)
    close(one.run(), other.run(), dtype)
    assert one.cache_bits() == other.cache_bits()


SLOTS = {
    "none": [-1, -1, -1, -1, -1],
    "bad": [5, -7, 10**6, -1, 3],
    "all bad": [-7, 10**6, -2, -9, 10**7],
    "equal": [5, 5, -1, 5, 2],
    "zero": [0, -1, -1, -1, -1],
}


@pytest.mark.usefixtures("step_by_python")
@pytest.mark.parametrize("name", SLOTS)
def test_the_step_stores_as_the_cache_does(name: str) -> None:
    """Padding, slots outside, the last of equal ones; NaN in what nobody writes keeps its bits; equal warnings."""

    def change(call: Call) -> Call:
        call.layer.k_cache[0, 0] = call.layer.v_cache[0, 0] = float("nan")
        return call.but(slot_mapping=torch.tensor(SLOTS[name]), context_lens=torch.tensor([0, 0, 16, 0, 0]))

    heard, calls = [], blocks_of_16(change)
    for call in calls:
        with captured_events() as events:
            call.run()
        heard.append(events)
    assert calls[0].cache_bits() == calls[1].cache_bits()
    assert heard[0] == heard[1]


@pytest.mark.usefixtures("step_by_python")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_step_multiplies_nothing_hidden(value: float) -> None:
    """Tails and free blocks."""
    _, call = blocks_of_16()
    clean = call.run()
    call.layer.k_cache[-1] = call.layer.v_cache[-1] = value
    for row, length in zip(call.context.block_tables.tolist(), call.context.context_lens.tolist(), strict=True):
        if length % 16:
            call.layer.k_cache[row[length // 16], length % 16 :] = value
            call.layer.v_cache[row[length // 16], length % 16 :] = value
    assert bits(call.run()) == bits(clean)


@pytest.mark.usefixtures("step_by_python")
def test_a_visible_nan_stays_with_its_sequence() -> None:
    """And shows there."""
    _, call = blocks_of_16()
    clean = call.run()
    call.layer.v_cache[call.context.block_tables[1, 0], 3] = float("nan")
    out = call.run()
    assert out[1].isnan().all()
    assert bits(out[[0, 2, 3, 4]]) == bits(clean[[0, 2, 3, 4]])


@pytest.mark.parametrize("table", [[[-1, 2, 1]], [[2, 99, 1]], [[2, 1, -7]], [[2]]])
def test_bad_blocks(table: list[list[int]]) -> None:
    """Their positions are not seen, the others keep their place, and both warn alike of them."""
    outputs, heard = [], []
    for name in ("eager", "flex"):
        call = decode_call([11], implementation=name).but(block_tables=torch.tensor(table))
        with captured_events() as events:
            outputs.append(call.run())
        heard.append(events)
    close(*outputs)
    assert heard[0] == heard[1] != []


LENGTHS = [0, 1, 2, 3, 5, 9, 17]


@pytest.mark.parametrize("alignment", ["top_left", "bottom_right"])
@pytest.mark.parametrize("seed", range(40))
def test_the_mask_of_a_prefill(alignment: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals say what the masks of the sequences say; lists of blocks cover that, each block once."""
    monkeypatch.setattr(flex_prefill, "BLOCK", 4)
    rng = torch.Generator().manual_seed(seed)
    lengths = [[LENGTHS[int(torch.randint(7, (), generator=rng))] for _ in range(1 + seed % 5)] for _ in range(2)]
    starts = [torch.tensor([0, *each]).cumsum(0) for each in lengths]
    tokens, keys = (max(int(each[-1]), 4) + 2 for each in starts)
    padded = [torch.cat([each, each[-1:]]) for each in starts]
    low, high = flex_prefill.find_intervals(tokens, *padded, alignment == "bottom_right")
    expected = torch.zeros(tokens, keys, dtype=torch.bool)
    for i, (queries, seen) in enumerate(zip(*lengths, strict=True)):
        rows, columns = (slice(int(each[i]), int(each[i + 1])) for each in starts)
        expected[rows, columns] = ~causal_mask(queries, seen, alignment, torch.device("cpu"))
    columns_of_all = torch.arange(keys)
    assert torch.equal((low[:, None] <= columns_of_all) & (columns_of_all < high[:, None]), expected)
    host: Any = {"cu_seqlens_q": starts[0], "cu_seqlens_k": starts[1]}
    assert torch.equal(mark_seen_keys(host, alignment), expected.any(dim=0)[: int(starts[1][-1])])

    counts, indices, whole_counts, whole = flex_prefill.list_blocks(low, high, keys)
    covered = torch.zeros_like(expected)
    for block in range(counts.shape[-1]):
        partly = indices[0, 0, block, : int(counts[0, 0, block])].tolist()
        wholly = whole[0, 0, block, : int(whole_counts[0, 0, block])].tolist()
        assert len({*partly, *wholly}) == len(partly) + len(wholly)
        for j in (*partly, *wholly):
            places = slice(block * 4, block * 4 + 4), slice(j * 4, j * 4 + 4)
            covered[places] = expected[places]
            assert j in partly or expected[places].all()
    assert torch.equal(covered, expected)


LAWS = ["agrees_with_reference", "visible_nan_appears", "logs_what_is_owed", "poison_is_invisible"]


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_prefill_obeys_the_laws(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled on CUDA, as Python: its mask, what it does about NaN, its warnings."""
    monkeypatch.setattr(flex_prefill, "compile_for", lambda function, *_: function)
    monkeypatch.setattr("attn_core.choice.explain_no_kernel", lambda *_: "")
    inner = fast("flex")
    backend = replace(inner, contract=replace(inner.contract, phases=("prefill",)))
    law = next(law for law in laws.LAWS if law.name == name)
    _, broken, _ = fuzz(law, backend, "float32", 0, examples=60)
    assert broken is None, broken and broken.violation
