"""A wrong number is explained by the question that it would answer, and by no other that could be told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.verification.samples import DECODE, PREFILL
from verification.backends.attn_core import AttnCore
from verification.backends.observe import observe
from verification.oracle.diagnosis import explanations
from verification.oracle.difference import difference
from verification.oracle.expectation import expect
from verification.oracle.precision import Precision
from verification.problem import Problem
from verification.tensors.inputs import Inputs, make_inputs


def why(problem: Problem, instead: Callable[[Inputs], Inputs]) -> tuple[str, ...]:
    """What is said of most elements of the honest answer to another question, where they are wrong for this one."""
    inputs = make_inputs(problem)
    got = observe(AttnCore(), instead(inputs)).output
    assert got is not None
    exact = expect(inputs, Precision())
    wrong = ~(np.abs(got.astype(np.float64) - exact.exact) <= 2 * exact.bound)
    said: Counter[tuple[str, ...]] = Counter()
    for index in np.flatnonzero(wrong):
        found = difference(wrong, got, exact.exact, exact.bound, int(index), problem.query_lens)
        said[explanations(inputs, found.worst)] += 1
    [(words, count)] = said.most_common(1)
    assert count > 0.6 * wrong.sum(), said
    return words


def with_problem(**changes: Any) -> Callable[[Inputs], Inputs]:
    return lambda inputs: replace(inputs, problem=replace(inputs.problem, **changes))


def with_table(change: Callable[[Any], Any]) -> Callable[[Inputs], Inputs]:
    return lambda inputs: replace(inputs, block_tables=change(inputs.block_tables))


LONG = replace(PREFILL, query_lens=(2,), key_lens=(6,), slot_mapping=(), num_blocks=0, head_dim=16)
GROUPS = replace(PREFILL, num_heads=4, num_kv_heads=2)
PAGED = replace(DECODE, key_lens=(3, 3), block_tables=((2, 0), (-2, 1)), slot_mapping=(0, 3), head_dim=16)


def test_alignment() -> None:
    """The mask of chunked prefill where the other is meant."""
    assert why(LONG, with_problem(causal_alignment="bottom_right")) == ("the mask were aligned bottom-right",)
    bottom = replace(LONG, causal_alignment="bottom_right")
    assert why(bottom, with_problem(causal_alignment="top_left")) == ("the mask were aligned top-left",)


def test_heads() -> None:
    """Tiled, not interleaved."""

    def tiled(inputs: Inputs) -> Inputs:
        return replace(inputs, q=inputs.q[:, [0, 2, 1, 3]])

    inputs = make_inputs(GROUPS)
    exact = expect(inputs, Precision())
    got = observe(AttnCore(), tiled(inputs)).output
    assert got is not None
    got = got[:, [0, 2, 1, 3]]
    off = np.abs(got.astype(np.float64) - exact.exact) > exact.bound
    element = difference(off, got, exact.exact, exact.bound, int(off.argmax()), GROUPS.query_lens).worst
    assert "it read kv head 1, not 0, which is h % G" in explanations(inputs, element)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: np.where(t < 0, 1, np.where(t == 1, -1, t)), "bad blocks were left out and later ones moved up"),
        (lambda t: np.where(t < 0, t + PAGED.num_blocks, t), "negative blocks counted from the cache's end"),
        (lambda t: np.where(t < 0, 0, t), "a bad block were block 0"),
    ],
)
def test_block_tables(change: Callable[[Any], Any], words: str) -> None:
    """Each way to misread an id that is not in the cache."""
    assert words in why(replace(PAGED, poison=("large", "large")), with_table(change))


def test_what_nobody_stored() -> None:
    """The slots of the new tokens hold what they held before."""
    problem = replace(PAGED, key_lens=(3, 2), block_tables=((2, 0), (1, -1)), poison=("large", "large"))
    unstored = lambda inputs: replace(inputs, slot_mapping=np.full_like(inputs.slot_mapping, -1))  # noqa: E731
    assert why(problem, unstored) == ("the new tokens were not stored",)


@pytest.mark.parametrize(
    ("asked", "done", "words"),
    [
        ((-1, 3), (0, 3), "padding were stored in slot 0"),
        ((9, 3), (1, 3), "slots wrapped at the cache's ends"),
        ((-8, 3), (0, 3), "negative slots counted from the cache's end"),
        ((-5, 3), (0, 3), "bad slots were stored in the nearest one"),
    ],
)
def test_slots(asked: tuple[int, int], done: tuple[int, int], words: str) -> None:
    """What must not be stored lies where a context sees it."""
    problem = replace(DECODE, key_lens=(2, 2), block_tables=((0,), (1,)), slot_mapping=asked, head_dim=16)
    elsewhere = lambda inputs: replace(inputs, slot_mapping=np.array(done))  # noqa: E731
    assert words in why(problem, elsewhere)


def test_context() -> None:
    """One token less."""
    shorter = lambda inputs: replace(inputs, context_lens=inputs.context_lens - 1)  # noqa: E731
    problem = replace(PAGED, key_lens=(3, 4), block_tables=((2, 0), (3, 1)), slot_mapping=(-1, -1))
    assert why(problem, shorter) == ("it missed its last token",)


def test_the_next_token() -> None:
    """What one key more gives; and where that is all there is, it is still called the next one."""
    inputs = make_inputs(LONG)
    more = expect(replace(inputs, problem=replace(LONG, query_lens=(3,)), q=inputs.q[[0, 0, 1]],
                          cu_seqlens_q=np.array([0, 3])), Precision())  # fmt: skip
    exact = expect(inputs, Precision())
    got = more.exact[1:2].astype(np.float16)
    got = np.concatenate([got, exact.exact[1:].astype(np.float16)])
    off = np.abs(got.astype(np.float64) - exact.exact) > exact.bound
    element = difference(off, got, exact.exact, exact.bound, int(off.argmax()), LONG.query_lens).worst
    assert explanations(inputs, element) == ("it saw its next key too",)


def test_nothing_is_said_of_another_call() -> None:
    """The exact answer is not the one of these inputs; or there is no such token."""
    inputs = make_inputs(LONG)
    exact = expect(inputs, Precision())
    got = exact.exact.astype(np.float16) + np.float16(1)
    element = difference(got > -9, got, exact.exact, exact.bound, 0, LONG.query_lens).worst
    assert explanations(inputs, element) == ()
    assert explanations(inputs, replace(element, got=0.0)) == ("it saw nothing",)
    assert explanations(inputs, replace(element, got=0.0, exact=element.exact + 1)) == ()
    assert explanations(inputs, replace(element, at=(("sequence", 7), *element.at[1:]))) == ()
    assert explanations(inputs, replace(element, at=(element.at[0], ("token", 7), *element.at[2:]))) == ()


def test_rounding_is_no_mistake_of_meaning() -> None:
    """What hardly differs from the right answer explains nothing: all weights are equal here whatever the scale is."""
    problem = replace(LONG, score_fill="zeros")
    inputs = make_inputs(problem)
    exact = expect(inputs, Precision())
    got = exact.exact.astype(np.float16) * np.float16(1.01)
    element = difference(got != 0, got, exact.exact, exact.bound, 0, problem.query_lens).worst
    assert explanations(inputs, element) == ()
