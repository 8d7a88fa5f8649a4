"""Laws of what should not matter: each sees a backend to which it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from properties.laws.invariance import (
    batch_does_not_matter,
    block_ids_do_not_matter,
    index_dtype_does_not_matter,
    poison_is_invisible,
    same_call_same_bits,
    strides_do_not_matter,
    the_future_does_not_matter,
)
from properties.laws.law import OutsideLaw
from tests.properties.wrapped import HONEST, LOOSE, Wrapped
from tests.verification.paged_kernel import Honest
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.backends.protocol import Backend, Call
from verification.faults import FAULTS
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem
from verification.tensors.materialize import Tensors

Check = Callable[[Backend, Problem], Verdict]
BOTH = pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
# All blocks that a context needs are there, and slots are those of its last tokens: two new ones behind one, and one.
IN_CACHE = replace(DECODE, block_tables=((2, 0), (1, 3)))
CHUNK = replace(IN_CACHE, phase="chunked", query_lens=(2, 1), slot_mapping=(5, 0, 3))


def swayed_by(quantity: Callable[[Tensors], float]) -> Wrapped:
    """The output grows with something that should not matter."""
    return Wrapped(lambda tensors, output: output + quantity(tensors))


def stale_plan() -> Wrapped:
    """Remembers the lengths of the first call of all, whatever it is prepared for."""
    first: list[Tensors] = []

    def around(call: Call) -> Call:
        def planned(tensors: Tensors) -> Tensor:
            first.append(tensors)
            lengths = {"cu_seqlens_q": first[0].cu_seqlens_q, "cu_seqlens_k": first[0].cu_seqlens_k}
            return call(replace(tensors, **lengths, context_lens=first[0].context_lens))

        return planned

    return Wrapped(around=around)


def stale_numbers(call: Call) -> Call:
    """Remembers the queries of its first call, as a graph does that was captured around them."""
    first: list[Tensors] = []

    def replayed(tensors: Tensors) -> Tensor:
        first.append(tensors)
        return call(replace(tensors, q=first[0].q))

    return replayed


def block_ids(tensors: Tensors) -> float:
    """A number that depends on where the blocks lie: slots, each times its place."""
    assert tensors.slot_mapping is not None
    places = torch.arange(1, 1 + len(tensors.slot_mapping))
    return float((tensors.slot_mapping * places).sum())


def index_bits(tensors: Tensors) -> float:
    """Of the dtype of the slots."""
    assert tensors.slot_mapping is not None
    return float(tensors.slot_mapping.element_size())


STRIDED = {"layout": "strided", "cache_layout": "transposed"}
CASES: list[tuple[Check, Wrapped, Problem]] = [
    (poison_is_invisible, swayed_by(lambda t: float(t.arena[0])), PREFILL),
    (poison_is_invisible, swayed_by(lambda t: float(t.arena[-1])), DECODE),
    (poison_is_invisible, swayed_by(lambda t: t.v_cache.sum().item()), replace(DECODE, poison=("zero", "large"))),  # type: ignore[union-attr]
    (poison_is_invisible, swayed_by(lambda t: t.block_tables[1, 1].item() % 1000), DECODE),  # type: ignore[index]
    (block_ids_do_not_matter, swayed_by(block_ids), PREFILL),
    (block_ids_do_not_matter, swayed_by(block_ids), DECODE),
    (batch_does_not_matter, swayed_by(lambda t: len(t.q)), PREFILL),
    (batch_does_not_matter, swayed_by(lambda t: len(t.q)), DECODE),
    (the_future_does_not_matter, swayed_by(lambda t: 0 * t.k.sum().item()), PREFILL),
    (the_future_does_not_matter, swayed_by(lambda t: 0 * t.q.sum().item()), PREFILL),
    (strides_do_not_matter, swayed_by(lambda t: t.q.stride(-1)), replace(PREFILL, **STRIDED)),  # type: ignore[arg-type]
    (strides_do_not_matter, swayed_by(lambda t: t.k_cache.stride(1)), replace(DECODE, num_kv_heads=2, **STRIDED)),  # type: ignore[union-attr, arg-type]
    (index_dtype_does_not_matter, swayed_by(index_bits), PREFILL),
    (index_dtype_does_not_matter, swayed_by(index_bits), replace(DECODE, index_dtype="int32")),
    (same_call_same_bits, stale_plan(), PREFILL),
    (same_call_same_bits, stale_plan(), DECODE),
    (same_call_same_bits, Wrapped(around=stale_numbers), PREFILL),
    (same_call_same_bits, Wrapped(around=stale_numbers), DECODE),
    (same_call_same_bits, swayed_by(lambda _: torch.rand(1).item()), DECODE),
]


@pytest.mark.parametrize(("law", "backend", "problem"), CASES)
def test_what_matters_is_seen(law: Check, backend: Wrapped, problem: Problem) -> None:
    """To the bit, and within the bound where no bits are claimed; the honest module keeps the law."""
    law(HONEST, problem)
    law(Wrapped(contract=LOOSE), problem)
    for contract in (HONEST.contract, LOOSE):
        with pytest.raises(Violation):
            law(replace(backend, contract=contract), problem)


@pytest.mark.parametrize("wrong_call", [2, 3])
def test_each_repetition_is_compared(wrong_call: int) -> None:
    """The call after another one, and the same call again."""

    def forgetting(call: Call) -> Call:
        calls: list[int] = []

        def counted(tensors: Tensors) -> Tensor:
            calls.append(1)
            return call(tensors) * (2 if len(calls) == wrong_call else 1)

        return counted

    with pytest.raises(Violation):
        same_call_same_bits(Wrapped(around=forgetting), PREFILL)


def test_a_layer_serves_several_problems() -> None:
    """A plan that is kept in it by shape is found, though each problem is prepared for itself."""
    with pytest.raises(Violation):
        same_call_same_bits(FAULTS["memo-by-shape"].backend(), DECODE)


@pytest.mark.parametrize("problem", [IN_CACHE, CHUNK], ids=["decode", "chunk"])
def test_a_call_is_given_what_it_was_prepared_for(problem: Problem) -> None:
    """So an adapter may read lengths from the problem: from any that a law makes, too."""
    asked: list[Problem] = []

    class Reading(Honest):
        def attend(self, problem: Problem, tensors: Tensors) -> Tensor:
            asked.append(problem)
            starts, contexts, tables = (getattr(tensors, x) for x in ("cu_seqlens_q", "context_lens", "block_tables"))
            assert starts is None or starts.diff().tolist() == list(problem.query_lens)
            assert contexts.tolist() == list(problem.key_lens)
            assert tables.tolist() == list(map(list, problem.block_tables))
            return super().attend(problem, tensors)

    same_call_same_bits(Reading(), problem)
    assert [p.key_lens for p in asked] == [problem.key_lens[::-1], *[problem.key_lens] * 4]


def test_claimed_bits_are_compared_as_bits() -> None:
    """The last bit is enough to break a claim, and none where nothing is claimed."""
    last_bit = Wrapped(lambda t, output: (output.view(torch.int16) ^ (len(t.q) % 2)).view(output.dtype))
    with pytest.raises(Violation, match="other bits"):
        batch_does_not_matter(last_bit, PREFILL)


def test_a_second_call_must_not_touch_the_cache() -> None:
    """Nor store anything twice."""

    def zeroing(call: Call) -> Call:
        calls: list[int] = []

        def once(tensors: Tensors) -> Tensor:
            output = call(tensors)
            calls.append(1)
            if len(calls) == 3 and tensors.v_cache is not None:
                tensors.v_cache[-1] = 7
            return output

        return once

    with pytest.raises(Violation, match="v_cache"):
        same_call_same_bits(Wrapped(around=zeroing), PREFILL)


@pytest.mark.parametrize(
    ("law", "problem"),
    [
        (block_ids_do_not_matter, one_head()),
        (batch_does_not_matter, one_head()),
        (the_future_does_not_matter, one_head()),
        (strides_do_not_matter, PREFILL),
    ],
)
def test_what_a_law_says_nothing_about(law: Check, problem: Problem) -> None:
    """No other block, sequence, token or stride."""
    with pytest.raises(OutsideLaw):
        law(HONEST, problem)


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_honest_whatever_the_seed(problem: Problem, seed: int) -> None:
    """The seed picks the sequence, the row and the permutation that a law looks at."""
    problem = replace(problem, seed=seed)
    laws: list[Check] = [poison_is_invisible, block_ids_do_not_matter, batch_does_not_matter, same_call_same_bits]
    for law in [*laws, index_dtype_does_not_matter]:
        law(HONEST, problem)
    if problem.phase == "prefill":
        the_future_does_not_matter(HONEST, problem)
