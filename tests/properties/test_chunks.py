"""Chunked prefills under the laws: drawn as they should be, and the bugs that kernels for them have are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from torch import Tensor

from properties.laws import LAWS
from properties.reduce import simpler
from properties.run import fuzz
from properties.strategies import problems_within
from tests.properties.generated import over
from tests.verification.samples import CHUNKED
from verification.adapters.chunks import EAGER, FLEX, SDPA
from verification.backend import Call, Wrapped
from verification.backends.token_by_token import TokenByToken
from verification.materialize import Tensors
from verification.problem import Problem
from verification.valid import check_problem, is_valid

BY_NAME = {law.name: law for law in LAWS}
SEED = 3
ASKED = [law for law in LAWS if law.asks(EAGER) and law.name != "threads_do_not_matter"]


@pytest.mark.parametrize("law", ASKED, ids=lambda law: law.name)
@pytest.mark.parametrize("backend", [EAGER, SDPA, FLEX], ids=lambda backend: backend.name)
def test_keeps_the_laws(backend: TokenByToken, law: object) -> None:
    """One query at a time, through a decode that is known to be right."""
    result, broken, _ = fuzz(law, backend, "float32", SEED, 12)  # type: ignore[arg-type]
    assert broken is None, result.failure


@over(300, problems_within(EAGER.contract, "float16", ("chunked",)))
def test_they_are_drawn(problem: Problem) -> None:
    """Valid, with every length of chunk and prefix."""
    check_problem(problem)
    assert problem.phase == "chunked"


def test_among_them_is_what_matters() -> None:
    """Whole prompts, prefixes, single tokens, sequences without queries, several of several tokens."""
    seen = set()

    @over(300, problems_within(EAGER.contract, "float16", ("chunked",)))
    def look(problem: Problem) -> None:
        for queries, keys in zip(problem.query_lens, problem.key_lens, strict=True):
            seen.add("whole" if queries == keys > 1 else "nothing" if not queries else "prefix" if queries > 1 else "1")
        seen.add("several" if sum(queries > 1 for queries in problem.query_lens) > 1 else "")

    look()
    assert {"whole", "nothing", "prefix", "1", "several"} <= seen


def _sees_all(tensors: Tensors, ends: Tensor) -> Tensor:  # noqa: ARG001
    """No causality among the new tokens."""
    return _of_its_sequence(tensors, tensors.context_lens)


def _sees_one_more(tensors: Tensors, ends: Tensor) -> Tensor:
    return (ends + 1).minimum(_of_its_sequence(tensors, tensors.context_lens))


def _top_left(tensors: Tensors, ends: Tensor) -> Tensor:
    """As if there were no prefix."""
    assert tensors.context_lens is not None
    assert tensors.cu_seqlens_q is not None
    return ends - _of_its_sequence(tensors, tensors.context_lens - tensors.cu_seqlens_q.diff())


def _prefix_alone(tensors: Tensors, ends: Tensor) -> Tensor:  # noqa: ARG001
    assert tensors.context_lens is not None
    assert tensors.cu_seqlens_q is not None
    return _of_its_sequence(tensors, tensors.context_lens - tensors.cu_seqlens_q.diff())


def _first_one_lost(tensors: Tensors, ends: Tensor) -> Tensor:
    """A chunk behind a prefix starts one position too early."""
    assert tensors.context_lens is not None
    assert tensors.cu_seqlens_q is not None
    prefix = tensors.context_lens - tensors.cu_seqlens_q.diff()
    return ends - _of_its_sequence(tensors, (prefix > 0).to(ends.dtype))


def _of_its_sequence(tensors: Tensors, x: Tensor | None) -> Tensor:
    assert x is not None
    assert tensors.cu_seqlens_q is not None
    return x.repeat_interleave(tensors.cu_seqlens_q.diff()).to(x.dtype)


@dataclass(frozen=True)
class _Wrong(Wrapped):
    """The decode is asked for other ends of contexts."""

    ends: Callable[[Tensors, Tensor], Tensor]

    def prepare(self, problem: Problem) -> Call:
        if problem.phase == "decode":
            return self.inner.prepare(problem)
        assert isinstance(self.inner, TokenByToken)
        right, asked = self.inner, []

        @dataclass(frozen=True)
        class Spoilt(Wrapped):
            def prepare(self, problem: Problem) -> Call:
                call = self.inner.prepare(problem)

                def spoilt(tensors: Tensors) -> Tensor:
                    assert tensors.context_lens is not None
                    return call(replace(tensors, context_lens=wrong(asked[-1], tensors.context_lens)))

                return spoilt

        wrong = self.ends
        call = replace(right, inner=Spoilt(right.inner)).prepare(problem)

        def remembered(tensors: Tensors) -> Tensor:
            asked.append(tensors)
            return call(tensors)

        return remembered


@pytest.mark.parametrize("ends", [_sees_all, _sees_one_more, _top_left, _prefix_alone, _first_one_lost])
@pytest.mark.parametrize("law", ["agrees_with_reference", "a_chunk_is_its_decodes"])
def test_bugs_are_found_and_small(ends: Callable[[Tensors, Tensor], Tensor], law: str) -> None:
    """On a chunk of one or two tokens, and few before it."""
    result, broken, _ = fuzz(BY_NAME[law], _Wrong(EAGER, ends), "float16", SEED, 300)
    assert broken is not None
    small = broken.problem
    assert small.phase == "chunked"
    assert (small.num_sequences, small.num_heads, small.head_dim) == (1, 1, 1)
    assert sum(small.key_lens) <= 2, result.failure
    assert small.num_queries <= 2


def test_the_future_law_sees_a_future() -> None:
    """Of the same chunk, in the cache."""
    _, broken, _ = fuzz(BY_NAME["the_future_does_not_matter"], _Wrong(EAGER, _sees_one_more), "float16", SEED, 300)
    assert broken is not None
    assert (broken.problem.query_lens, broken.problem.key_lens) == ((2,), (2,))


def test_smaller_ones_are_still_chunks() -> None:
    """With fewer queries and as long a context, as many fewer of both; the slots that stay are those of the tokens."""
    found = [p for p in simpler(CHUNKED) if p.phase == "chunked" and is_valid(p) and p.query_lens != CHUNKED.query_lens]
    of_first = {(p.query_lens[0], p.key_lens[0], p.slot_mapping) for p in found if p.num_sequences == 3}
    assert (1, 3, (0, 3)) in of_first
    assert (1, 2, (5, 3)) in of_first
    assert (0, 3, (3,)) in of_first
