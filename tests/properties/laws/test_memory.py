"""Laws of what a call may write: each sees one stray write, and only its own kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from properties.laws.law import Law, OutsideLaw
from properties.laws.memory import bad_input_is_refused, cache_is_exact, guards_stay_intact, inputs_stay_unmodified
from properties.run.round import fuzz
from tests.properties.wrapped import HONEST, Wrapped
from tests.verification.samples import DECODE, PREFILL, one_head
from verification.backends.protocol import Backend, Call
from verification.oracle.judge import Verdict, Violation
from verification.problem import Problem
from verification.tensors.materialize import Tensors

Check = Callable[[Backend, Problem], Verdict]
BOTH = pytest.mark.parametrize("problem", [PREFILL, DECODE], ids=["prefill", "decode"])
LAWS: list[Check] = [cache_is_exact, guards_stay_intact, inputs_stay_unmodified]


def writing(write: Callable[[Tensors], object]) -> Wrapped:
    """Right output, stray write."""

    def tamper(tensors: Tensors, output: Tensor) -> Tensor:
        write(tensors)
        return output

    return Wrapped(tamper)


def to_bytes(name: str, offset: int) -> Callable[[Tensors], object]:
    """One byte, relative to the start of a tensor."""

    def write(tensors: Tensors) -> None:
        start = getattr(tensors, name).data_ptr() - tensors.arena.data_ptr()
        tensors.arena[start + offset] += 1

    return write


WRITES: list[tuple[Check, Callable[[Tensors], object]]] = [
    (cache_is_exact, lambda t: t.v_cache[3].neg_()),  # type: ignore[index]
    (cache_is_exact, lambda t: t.k_cache[2, 0].zero_()),  # type: ignore[index]
    (cache_is_exact, lambda t: t.k_cache[0, 0].neg_()),  # type: ignore[index]
    (guards_stay_intact, to_bytes("q", -1)),
    (guards_stay_intact, to_bytes("v_cache", 2 * 4 * 8 + 2)),
    (guards_stay_intact, lambda t: t.arena[-1:].add_(1)),
    (inputs_stay_unmodified, lambda t: t.q.mul_(2)),
    (inputs_stay_unmodified, lambda t: t.v[0, 0, :1].neg_()),
    (inputs_stay_unmodified, lambda t: t.slot_mapping.clamp_(min=1)),  # type: ignore[union-attr]
]


@BOTH
@pytest.mark.parametrize(("law", "write"), WRITES)
def test_a_stray_write_breaks_its_law_alone(law: Check, write: Callable[[Tensors], object], problem: Problem) -> None:
    """The other two have nothing to say of it."""
    problem = replace(problem, poison=("large", "large"))
    backend = writing(write)
    for other in LAWS:
        other(HONEST, problem)
        if other is law:
            with pytest.raises(Violation):
                other(backend, problem)
        else:
            other(backend, problem)


@BOTH
def test_a_token_that_is_not_stored_is_seen(problem: Problem) -> None:
    """The cache stays as it was."""

    def forgetful(call: Call) -> Call:
        return lambda t: call(replace(t, slot_mapping=torch.full_like(t.slot_mapping, -1)))  # type: ignore[arg-type]

    with pytest.raises(Violation, match="k_cache"):
        cache_is_exact(Wrapped(around=forgetful), problem)


def test_no_cache_nothing_to_store() -> None:
    """The law says nothing."""
    with pytest.raises(OutsideLaw):
        cache_is_exact(HONEST, one_head())


MISUSED = replace(PREFILL, misuse="cu_seqlens_k_too_far")
BAD_DECODE = replace(DECODE, misuse="context_lens_rows")


def answering(handle: Callable[[Tensors, Exception], None]) -> Wrapped:
    """Does something else with an error."""

    def around(call: Call) -> Call:
        def forgiving(tensors: Tensors) -> Tensor:
            try:
                return call(tensors)
            except ValueError as error:
                handle(tensors, error)
                return torch.zeros(4, 8, dtype=torch.float16)

        return forgiving

    return Wrapped(around=around)


def write_and_refuse(tensors: Tensors, error: Exception) -> None:
    """Too late."""
    assert tensors.k_cache is not None
    tensors.k_cache.fill_(5)
    raise error


def crash(_: Tensors, error: Exception) -> None:
    """With a type that nobody catches."""
    raise RuntimeError(str(error)) from None


def mumble(_: Tensors, error: Exception) -> None:
    """Without a name."""
    raise ValueError("bad input") from error


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        (lambda *_: None, "accepted"),
        (write_and_refuse, "k_cache"),
        (crash, "RuntimeError"),
        (mumble, "should name cu_seqlens_k"),
    ],
)
def test_a_refusal_names_the_argument_and_writes_nothing(
    handle: Callable[[Tensors, Exception], None], message: str
) -> None:
    """ValueError or TypeError, before the first write."""
    bad_input_is_refused(HONEST, MISUSED)
    with pytest.raises(Violation, match=message):
        bad_input_is_refused(answering(handle), MISUSED)


def test_refusals_are_not_asked_of_everyone() -> None:
    """Nor of good input."""
    with pytest.raises(OutsideLaw):
        bad_input_is_refused(HONEST, PREFILL)
    with pytest.raises(OutsideLaw):
        bad_input_is_refused(Wrapped(contract=replace(HONEST.contract, refuses=False)), MISUSED)


def test_refusals_may_be_promised_of_some_arguments() -> None:
    """Of those the law speaks, and of no others; in one phase or in both."""

    def careless(tensors: Tensors, error: Exception) -> None:
        """Refuses nothing."""

    some = replace(HONEST.contract, refuses={"q", "cu_seqlens_k"})  # type: ignore[arg-type]
    with pytest.raises(Violation, match="accepted, and cu_seqlens_k should have been refused"):
        bad_input_is_refused(replace(answering(careless), contract=some), MISUSED)
    others = replace(HONEST.contract, refuses={"q", "block_tables"})  # type: ignore[arg-type]
    with pytest.raises(OutsideLaw):
        bad_input_is_refused(replace(answering(careless), contract=others), MISUSED)
    in_prefill = HONEST.contract.differing("prefill", refuses=False)
    with pytest.raises(OutsideLaw):
        Law(bad_input_is_refused).ask(replace(answering(careless), contract=in_prefill), MISUSED)
    with pytest.raises(Violation):
        Law(bad_input_is_refused).ask(replace(answering(careless), contract=in_prefill.in_phase("decode")), BAD_DECODE)


def test_a_spoilt_call_is_one_of_the_contract() -> None:
    """As it is drawn, and as it is made small: nothing is promised about others, spoilt or not."""

    def accepting(call: Call) -> Call:
        def accepted(tensors: Tensors) -> Tensor:
            try:
                return call(tensors)
            except (ValueError, TypeError):
                return torch.zeros(1)

        return accepted

    contract = replace(HONEST.contract, undefined=frozenset({"sequences: 1", "layout: contiguous", "H/G: 1"}))
    _, broken, _ = fuzz(bad_input_is_refused, Wrapped(around=accepting, contract=contract), "float16", 0, 12)
    assert broken is not None
    small = broken.problem
    assert contract.speaks_of(small)
    assert (small.num_sequences, small.num_heads, small.num_kv_heads, small.layout) == (2, 2, 1, "fused")
