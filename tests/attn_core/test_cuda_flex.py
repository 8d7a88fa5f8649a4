"""Compiled FlexAttention on CUDA: how often it is compiled, what it waits for, what it needs, what it falls back to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from attn_core import Attention, Context, attention_context
from attn_core.compiling import compile_for
from properties import laws
from properties.laws.law import Law
from properties.run.round import fuzz
from tests.attn_core.calls import Call, bits
from tests.attn_core.test_cuda import _copies
from verification.catalogue import backend_named

pytestmark = pytest.mark.usefixtures("cuda_device")

HEADS, GROUPS, DIM, SIZE = 8, 2, 64, 16
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
TOLERANCE = {torch.float16: 4e-3, torch.bfloat16: 3e-2, torch.float32: 1e-4}


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    """Each test counts from nothing."""
    compile_for.cache_clear()
    torch._dynamo.reset()
    yield
    compile_for.cache_clear()


def decode(
    lengths: list[int], width: int, dtype: torch.dtype = torch.bfloat16, name: str = "flex", seed: int = 0
) -> Call:
    """Everything on the device; what nobody sees is NaN."""
    generator = torch.Generator().manual_seed(seed)
    need = [-(-length // SIZE) for length in lengths]
    blocks = torch.randperm(sum(need) + 3, generator=generator)
    tables = torch.full((len(lengths), width), -1)
    on_device = torch.Generator("cuda").manual_seed(seed)
    caches = torch.randn(2, len(blocks), SIZE, GROUPS, DIM, generator=on_device, device="cuda")
    caches[:, blocks[sum(need) :]] = float("nan")
    slots, at = [], 0
    for i, (length, count) in enumerate(zip(lengths, need, strict=True)):
        tables[i, :count] = blocks[at : at + count]
        at += count
        slots.append(int(tables[i, count - 1]) * SIZE + (length - 1) % SIZE if length else -1)
        if length % SIZE:
            caches[:, tables[i, count - 1], length % SIZE :] = float("nan")
    layer = Attention(HEADS, DIM, GROUPS, implementation=name, check_values=False)  # type: ignore[arg-type]
    layer.k_cache, layer.v_cache = caches.to("cuda", dtype)
    tokens = (torch.randn(len(lengths), heads, DIM, generator=generator) for heads in (HEADS, GROUPS, GROUPS))
    indices = (torch.tensor(x, dtype=torch.int32, device="cuda") for x in (slots, lengths, tables.tolist()))
    context = Context(False, None, None, 0, 0, *indices)
    return Call(layer, context, *(x.to("cuda", dtype) for x in tokens))


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=TOLERANCE[one.dtype], atol=TOLERANCE[one.dtype])


def graphs() -> int:
    """What dynamo has compiled since `_compiled_anew`."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_numbers_and_caches(dtype: torch.dtype) -> None:
    """As eager, from one part to many."""
    for lengths in ([1, 15, 16, 17, 0], [5000, 300, 31]):
        one, other = (decode(lengths, 320, dtype, name) for name in ("eager", "flex"))
        close(other.run(), one.run())
        assert one.cache_bits() == other.cache_bits()


def test_500_steps_are_compiled_for_twice() -> None:
    """Batches of 1 to 40, tables of any width, caches of any size: once for up to 8 sequences, once for up to 64."""
    rng = torch.Generator().manual_seed(3)
    torch._dynamo.utils.counters.clear()
    for step in range(500):
        batch = int(torch.randint(1, 41, (), generator=rng))
        lengths = torch.randint(0, 400, (batch,), generator=rng).tolist()
        out = decode(lengths, int(torch.randint(25, 60, (), generator=rng)), seed=step).run()
        if step % 50 == 0:
            close(out, decode(lengths, 25, name="eager", seed=step).run())
    assert graphs() == 2


def test_prefills_are_compiled_for_once() -> None:
    """A mask and a kernel, whatever the lengths."""
    torch._dynamo.utils.counters.clear()
    for lengths in ([3], [200, 1, 77], [1, 1, 1, 300], [129]):
        generator = torch.Generator().manual_seed(len(lengths))
        shapes = ((sum(lengths), heads, DIM) for heads in (HEADS, GROUPS, GROUPS))
        tokens = [torch.randn(shape, generator=generator).to("cuda", torch.float16) for shape in shapes]
        starts = torch.tensor([0, *lengths]).cumsum(0)
        with attention_context(Context(True, starts, starts)):
            one, other = (Attention(HEADS, DIM, GROUPS, implementation=name)(*tokens) for name in ("eager", "flex"))
        close(other, one)
    assert graphs() == 2


def test_where_a_tensor_lies_is_not_compiled_for() -> None:
    """At the start of its storage or behind it."""
    torch._dynamo.utils.counters.clear()
    for seed in range(2):
        call = decode([30, 3], 4, seed=seed)
        if seed:
            layer = call.layer
            for name in ("k_cache", "v_cache"):
                setattr(layer, name, torch.cat([getattr(layer, name)[:1], getattr(layer, name)])[1:])
            tensors = ("slot_mapping", "context_lens", "block_tables")
            call = call.but(**{x: getattr(call.context, x).repeat_interleave(2, 0)[1:][:2] for x in tensors})
        call.run()
    assert graphs() == 1


def test_a_narrow_table_names_no_other_block() -> None:
    """Tables are widened to be compiled once for all widths."""
    for width in (0, 1):
        one, other = (decode([3], 1, name=name) for name in ("eager", "flex"))
        for call in (one, other):
            call.context.block_tables.fill_(0)
            call.layer.k_cache.nan_to_num_()
            call.layer.v_cache.nan_to_num_()
        lengths = torch.tensor([SIZE + 9], dtype=torch.int32, device="cuda")
        one, other = (x.but(context_lens=lengths, block_tables=x.context.block_tables[:, :width]) for x in (one, other))
        close(other.run(), one.run())


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 3e4])
def test_keys_that_nobody_sees_choose_no_other_kernel(poison: float) -> None:
    """Behind the diagonal of a short prompt, and of a sequence without queries."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((70, HEADS, DIM), (100, GROUPS, DIM), (100, GROUPS, DIM))
    q, k, v = (torch.randn(shape, generator=generator).to("cuda", torch.float16) for shape in shapes)
    layer = Attention(HEADS, DIM, GROUPS, implementation="flex")
    outputs = []
    with attention_context(Context(True, torch.tensor([0, 70, 70]), torch.tensor([0, 80, 100]))):
        for hidden in (0.0, poison):
            k[70:], v[70:] = hidden, hidden
            outputs.append(layer(q, k, v))
    assert bits(outputs[0]) == bits(outputs[1])


def test_it_waits_for_nothing() -> None:
    """But for the one transfer of the warnings."""
    call = decode([300, 20, 0], 24)
    call.run()
    assert _copies(call, "disabled") == 0
    assert _copies(call) == 1


def test_memory_does_not_grow_with_the_context() -> None:
    """But for four bytes a tile: the keys and values of a context a hundred times longer are 50 MiB more."""
    peaks = []
    for length in (640, 64_000):
        call = decode([length] * 2, -(-length // SIZE))
        call.run()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call.run()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < peaks[0] + 4 * 2**20


def test_without_the_compiler_it_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever switches the compiler off, the unfused path over the whole cache is not taken."""
    call = decode([300, 20, 0], 24)
    expected = call.run()
    monkeypatch.setattr("attn_core.parts.flex.flex_attention", None)
    with torch.compiler.set_stance("force_eager"):
        close(call.run(), expected)


def test_past_the_limit_of_recompilations_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is run in its place."""
    monkeypatch.setattr("attn_core.flex.pad", lambda x, length, columns=0, value=0: x)  # noqa: ARG005
    with torch._dynamo.config.patch(recompile_limit=1):
        decode([30] * 2, 4).run()
        with pytest.raises(Exception, match="fullgraph=True"):
            decode([30] * 3, 4).run()


LAWS = [law for law in laws.LAWS if law.name in ("agrees_with_reference", "poison_is_invisible", "cache_is_exact")]


@pytest.mark.parametrize("name", ["attn_core/sdpa+graph", "attn_core/flex+graph", "attn_core/auto+compile"])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_graphs_and_compilation_obey_the_laws(name: str, law: Law) -> None:
    """Captured with nothing to read, replayed with the problem's slots, lengths and blocks."""
    _, broken, _ = fuzz(law, backend_named(name, "cuda"), "bfloat16", 0, examples=25)
    assert broken is None, broken and broken.violation
