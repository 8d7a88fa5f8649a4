"""Chunked prefills under the laws: drawn as they should be, and the bugs that kernels for them have are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from torch import Tensor

from properties.generate.profile import try_each
from properties.generate.strategies import problems_within
from properties.laws import LAWS
from properties.run.round import fuzz
from properties.shrink.reduce import propose_simpler, reduce_problem
from tests.properties.generated import over
from tests.verification.samples import CHUNKED
from verification.backends.chunks import EAGER, FLEX, SDPA
from verification.backends.token_by_token import TokenByToken
from verification.problem import Problem
from verification.problem.validate import check_problem, is_valid
from verification.tensors.materialize import Tensors

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


def _sees_all(queries: Tensor, contexts: Tensor, ends: Tensor) -> Tensor:  # noqa: ARG001
    """No causality among the new tokens."""
    return contexts


def _sees_one_more(queries: Tensor, contexts: Tensor, ends: Tensor) -> Tensor:  # noqa: ARG001
    return (ends + 1).minimum(contexts)


def _top_left(queries: Tensor, contexts: Tensor, ends: Tensor) -> Tensor:
    """As if there were no prefix."""
    return ends - (contexts - queries)


def _prefix_alone(queries: Tensor, contexts: Tensor, ends: Tensor) -> Tensor:  # noqa: ARG001
    return contexts - queries


def _first_one_lost(queries: Tensor, contexts: Tensor, ends: Tensor) -> Tensor:
    """A chunk behind a prefix starts one position too early."""
    return ends - (contexts > queries).to(ends.dtype)


Ends = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _Wrong(TokenByToken):
    """The decode is asked for other ``ends`` of contexts: of the number of queries, the context and the right end, a
    number a query each.
    """

    ends: Ends

    def expanded(self, tensors: Tensors) -> Tensors:
        right = super().expanded(tensors)
        starts, contexts = tensors.held("cu_seqlens_q", "context_lens")
        [ends], queries = right.held("context_lens"), starts.diff()
        of_query = (x.repeat_interleave(queries) for x in (queries, contexts))
        return replace(right, context_lens=self.ends(*of_query, ends).to(ends.dtype))


_SLOW = (pytest.param(ends, marks=pytest.mark.slow) for ends in (_sees_all, _top_left, _first_one_lost))


@pytest.mark.parametrize("ends", [_sees_one_more, _prefix_alone, *_SLOW])
@pytest.mark.parametrize(
    "law", ["agrees_with_reference", pytest.param("a_chunk_is_its_decodes", marks=pytest.mark.slow)]
)
def test_bugs_are_found_and_small(ends: Ends, law: str) -> None:
    """On a chunk of one or two tokens, and few before it."""
    result, broken, _ = fuzz(BY_NAME[law], _Wrong(EAGER.inner, ends), "float16", SEED, 300)
    assert broken is not None
    small = broken.problem
    assert small.phase == "chunked"
    assert (small.num_sequences, small.num_heads, small.head_dim) == (1, 1, 1)
    assert sum(small.key_lens) <= 2, result.failure
    assert small.num_queries <= 2


@pytest.mark.slow
def test_the_future_law_sees_a_future() -> None:
    """Of the same chunk, in the cache."""
    _, broken, _ = fuzz(
        BY_NAME["the_future_does_not_matter"], _Wrong(EAGER.inner, _sees_one_more), "float16", SEED, 300
    )
    assert broken is not None
    assert (broken.problem.query_lens, broken.problem.key_lens) == ((2,), (2,))


def test_smaller_ones_are_still_chunks() -> None:
    """With fewer queries and as long a context, as many fewer of both; the slots that stay are those of the tokens."""
    found = [
        p
        for p in propose_simpler(CHUNKED)
        if p.phase == "chunked" and is_valid(p) and p.query_lens != CHUNKED.query_lens
    ]
    of_first = {(p.query_lens[0], p.key_lens[0], p.slot_mapping) for p in found if p.num_sequences == 3}
    assert (1, 3, (0, 3)) in of_first
    assert (1, 2, (5, 3)) in of_first
    assert not any(queries == 0 for queries, _, _ in of_first)


def test_a_chunk_with_new_tokens_is_plainer() -> None:
    """No engine sends one without: it is not shrunk to, and where one was drawn a token is added."""
    small = reduce_problem(CHUNKED, lambda problem: problem.phase == "chunked" and problem.num_sequences == 2)
    assert small.query_lens == (1, 1)
    needed = reduce_problem(CHUNKED, lambda problem: 0 in problem.query_lens)
    assert needed.query_lens == (0,)


def test_a_contract_may_leave_chunks_without_new_tokens_out() -> None:
    """By the label of a sequence without queries: they are not drawn, nor is anything shrunk to them."""
    contract = replace(EAGER.contract, undefined=frozenset({"queries and keys: no queries"}))
    assert not contract.speaks_of(CHUNKED)
    lengths: list[int] = []
    strategy = problems_within(contract, "float16", ("chunked",))
    try_each(strategy, lambda problem: lengths.extend(problem.query_lens), 3, 100)
    assert 0 < min(lengths) < max(lengths)
